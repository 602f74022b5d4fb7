//! All keys that were given, wherever they were written, each under its one name with its checked value.
//!
//! Order of precedence, as in ZooKeeper: a key of `zoo.cfg` sets the process property and so overrides `-D`. Every key
//! that will not do what it does in ZooKeeper is named in one warning here.

use super::error::{ConfigError, Source, Warning};
use super::known_keys::{KnownKey, Place, Standing, Value, canonical, find};
use std::collections::BTreeMap;

/// A checked key.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub text: String,
    pub value: Value,
    pub source: Source,
}

#[derive(Debug, Default)]
pub(super) struct Sources {
    items: BTreeMap<String, Item>,
    pub warnings: Vec<Warning>,
}

impl Sources {
    /// `-Dname=value`.
    pub fn add_property(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let source = Source::CommandLine;
        let (key, process) = match name.strip_prefix("zookeeper.") {
            Some(rest) => (canonical(rest), false),
            None => (name, true),
        };
        let row = find(key);
        let place = row.map(|row| row.place);
        let taken = match place {
            Some(Place::Property) => !process,
            Some(Place::PropertyOrProcess) => true,
            Some(Place::Process | Place::FileOrProcess) => process,
            Some(Place::File) | None => false,
        };
        match (row, place) {
            (Some(row), _) if taken => self.add(row, key, name, text, source),
            (_, Some(Place::File | Place::FileOrProcess)) => {
                self.warn(source, format!("-D{name} is ignored: {key} is a key of zoo.cfg only"));
                Ok(())
            }
            (_, Some(Place::Process)) => {
                self.warn(source, format!("-D{name} is ignored: the property is called {key}"));
                Ok(())
            }
            (_, Some(_)) => {
                self.warn(source, format!("-D{name} is ignored: the property is called zookeeper.{key}"));
                Ok(())
            }
            (_, None) => {
                self.warn(source, format!("-D{name} is unknown and ignored"));
                Ok(())
            }
        }
    }

    /// A key of `zoo.cfg`.
    pub fn add_from_file(&mut self, name: &str, text: &str, source: Source) -> Result<(), ConfigError> {
        let key = canonical(name);
        match find(key) {
            Some(row) if row.place == Place::Process => {
                let advice = format!("{name} is ignored in a file, as in ZooKeeper: start with -D{name}={text}");
                self.warn(source, advice);
                Ok(())
            }
            Some(row) => self.add(row, key, name, text, source),
            None => {
                let hint = match name.strip_prefix("zookeeper.").map(canonical) {
                    Some(rest) if find(rest).is_some() => {
                        format!(" (in a file it is called {rest})")
                    }
                    _ => String::new(),
                };
                self.warn(source, format!("{name} is unknown and ignored{hint}"));
                Ok(())
            }
        }
    }

    fn add(&mut self, row: &KnownKey, key: &str, name: &str, text: &str, source: Source) -> Result<(), ConfigError> {
        let property = matches!(row.place, Place::Property | Place::PropertyOrProcess | Place::Process);
        let value =
            row.kind.parse(text, property).map_err(|why| ConfigError::new(&source, format!("{name}: {why}")))?;
        let item = Item { text: text.to_owned(), value, source };
        self.items.insert(key.to_owned(), item);
        Ok(())
    }

    pub fn warn(&mut self, source: Source, text: String) {
        self.warnings.push(Warning { source, text });
    }

    /// One warning for each key that is known but does nothing here, unless it would do nothing in ZooKeeper either.
    pub fn warn_of_unused(&mut self) {
        for (name, item) in &self.items {
            let Some(row) = find(name) else { continue };
            let text = match row.standing {
                _ if row.without_effect(&item.text) => continue,
                Standing::Used | Standing::Ensemble => continue,
                Standing::EnsembleIgnored(_) | Standing::EnsembleNotYet(_) | Standing::EnsembleRefused(_) => continue,
                Standing::Ignored(reason) => format!("{name} is ignored: {reason}"),
                Standing::NotYet(reason) => format!("{name} has no effect yet: {reason}"),
            };
            self.warnings.push(Warning { source: item.source.clone(), text });
        }
    }

    /// As `warn_of_unused`, of what counts for members of an ensemble only.
    pub fn warn_member_of_unused(&mut self) {
        for (name, item) in &self.items {
            let Some(row) = find(name).filter(|row| !row.without_effect(&item.text)) else { continue };
            let text = match row.standing {
                Standing::EnsembleIgnored(reason) => format!("{name} is ignored: {reason}"),
                Standing::EnsembleNotYet(reason) => format!("{name} has no effect yet: {reason}"),
                _ => continue,
            };
            self.warnings.push(Warning { source: item.source.clone(), text });
        }
    }

    pub fn given(&self, name: &str) -> Option<&Item> {
        self.items.get(name)
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.items.iter().map(|(name, item)| (name.as_str(), item))
    }

    /// An error about `name`, placed where it was given.
    pub fn error(&self, name: &str, fallback: &Source, reason: impl Into<String>) -> ConfigError {
        let source = self.items.get(name).map_or(fallback, |item| &item.source);
        ConfigError::new(source, format!("{name}: {}", reason.into()))
    }

    /// The value given or ZooKeeper's default; `None` where there is neither.
    fn value(&self, name: &str) -> Option<Value> {
        if let Some(item) = self.items.get(name) {
            return Some(item.value.clone());
        }
        let row = find(name).filter(|row| !row.default.is_empty())?;
        row.kind.parse(row.default, true).ok()
    }

    pub fn int(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    /// For keys of the table that have a default and whose bounds fit 32 bits without sign.
    pub fn u32(&self, name: &str) -> u32 {
        let number = self.int(name).unwrap_or_default();
        u32::try_from(number.max(0)).unwrap_or(u32::MAX)
    }

    /// For limits that ZooKeeper switches off by zero or a negative number.
    pub fn limit(&self, name: &str) -> Option<u32> {
        Some(self.u32(name)).filter(|limit| *limit > 0)
    }

    /// For times that may be longer than 32 bits hold.
    pub fn millis(&self, name: &str) -> u64 {
        self.int(name).and_then(|millis| u64::try_from(millis).ok()).unwrap_or_default()
    }

    pub fn bool(&self, name: &str) -> bool {
        self.value(name) == Some(Value::Bool(true))
    }

    pub fn real(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Real(number)) => number,
            _ => 0.0,
        }
    }

    /// A text that is not empty.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}
