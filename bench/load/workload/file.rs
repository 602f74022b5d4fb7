//! What a workload is, read strictly from the few lines of TOML that describe it. Every mistake is told with file, line and
//! reason before anything is sent.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use crate::failure::Failure;
use crate::wire::KEYS_MAX;
use crate::workload::named;

pub const KEYS_DEFAULT: u64 = 10_000;
pub const VALUE_BYTES_DEFAULT: usize = 100;
/// Java's jute.maxbuffer takes requests of a little less than 1 MiB.
const VALUE_BYTES_MAX: usize = 64 << 20;
const LEVELS_MAX: usize = 1_000;
const PARTS_MAX: usize = 10_000;
const WEIGHT_MAX: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Requests one by one, chosen by weight.
    Mix,
    Lock,
    WatchStorm,
    SessionChurn,
    ReconnectStorm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Get,
    Exists,
    List,
    Set,
    Create,
    Delete,
    Multi,
    MultiRead,
    SyncGet,
}

/// What an operation is made of: parts of a multi, or what is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Of {
    Check,
    Set,
    Create,
    Delete,
    Keys,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    pub kind: Kind,
    #[serde(default = "one")]
    pub weight: u64,
    /// Parts of a multi or multiRead.
    pub size: Option<usize>,
    #[serde(default)]
    pub of: Vec<Of>,
    /// Of what it writes; else the workload's.
    pub value_bytes: Option<usize>,
}

fn one() -> u64 {
    1
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: Option<String>,
    keys: Option<Spanned<u64>>,
    value_bytes: Option<Spanned<usize>>,
    levels: Option<Spanned<usize>>,
    create_among_keys: Option<bool>,
    list_parents: Option<Spanned<u64>>,
    list_children: Option<Spanned<u64>>,
    pattern: Option<Pattern>,
    clients_per_lock: Option<Spanned<usize>>,
    ephemerals: Option<Spanned<usize>>,
    watches: Option<Spanned<usize>>,
    #[serde(default)]
    operation: Vec<Spanned<Operation>>,
}

/// A workload, valid.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub about: String,
    pub keys: u64,
    pub value_bytes: usize,
    /// Further levels between the parent and the keys.
    pub levels: usize,
    /// New znodes are siblings of the keys; else they have a parent of the run's own.
    pub create_among_keys: bool,
    pub list_parents: u64,
    pub list_children: u64,
    pub pattern: Pattern,
    pub clients_per_lock: usize,
    /// Ephemeral znodes in each session of a churn.
    pub ephemerals: usize,
    /// Watches of each session in a storm.
    pub watches: usize,
    pub operations: Vec<Operation>,
}

impl Spec {
    /// A workload by name or, with a slash or `.toml` in it, from a file.
    pub fn load(name: &str) -> Result<Spec, Failure> {
        if name.ends_with(".toml") || name.contains('/') {
            let text =
                std::fs::read_to_string(name).map_err(|error| Failure::Usage(format!("--workload {name}: {error}")))?;
            let stem = Path::new(name).file_stem().map_or(name.into(), |stem| stem.to_string_lossy());
            return Spec::parse(name, &stem, &text);
        }
        let text = named::find(name).ok_or_else(|| {
            let known: Vec<&str> = named::NAMED.iter().map(|(name, _)| *name).collect();
            Failure::Usage(format!("--workload {name}: neither a file FILE.toml nor one of {}", known.join(", ")))
        })?;
        Spec::parse(name, name, text)
    }

    fn parse(file: &str, name: &str, text: &str) -> Result<Spec, Failure> {
        let wrong = |at: Option<Range<usize>>, reason: &str| {
            let before = &text[..at.map_or(0, |at| at.start.min(text.len()))];
            let line = before.matches('\n').count() + 1;
            Failure::Usage(format!("{file}:{line}: {reason}"))
        };
        let parsed: File = toml::from_str(text).map_err(|error| wrong(error.span(), error.message().trim_end()))?;
        parsed.check().map_err(|(at, reason)| wrong(at, &reason))?;
        Ok(parsed.into_spec(name))
    }
}

type Wrong = (Option<Range<usize>>, String);

impl File {
    fn check(&self) -> Result<(), Wrong> {
        within("keys", &self.keys, 1, KEYS_MAX)?;
        within("value_bytes", &self.value_bytes, 0, VALUE_BYTES_MAX)?;
        within("levels", &self.levels, 0, LEVELS_MAX)?;
        within("list_parents", &self.list_parents, 1, KEYS_MAX)?;
        within("list_children", &self.list_children, 1, KEYS_MAX)?;
        within("clients_per_lock", &self.clients_per_lock, 1, 1_000_000)?;
        within("ephemerals", &self.ephemerals, 0, 10_000)?;
        within("watches", &self.watches, 0, 1_000_000)?;
        let pattern = self.pattern.unwrap_or(Pattern::Mix);
        if pattern == Pattern::WatchStorm && self.watches.as_ref().is_some_and(|watches| *watches.get_ref() == 0) {
            return Err((span_of(&self.watches), "`watches` is 0: nobody would be told".into()));
        }
        for (name, span, owners) in [
            ("clients_per_lock", span_of(&self.clients_per_lock), &[Pattern::Lock][..]),
            ("ephemerals", span_of(&self.ephemerals), &[Pattern::SessionChurn]),
            ("watches", span_of(&self.watches), &[Pattern::ReconnectStorm, Pattern::WatchStorm]),
        ] {
            if span.is_some() && !owners.contains(&pattern) {
                return Err((span, format!("`{name}` belongs to another pattern than this one")));
            }
        }
        if pattern != Pattern::Mix {
            let first = self.operation.first();
            return first
                .map_or(Ok(()), |operation| Err((Some(operation.span()), "a pattern has no operations".into())));
        }
        if self.operation.is_empty() {
            return Err((None, "no operation: nothing would be sent".into()));
        }
        let first = self.operation[0].span();
        for operation in &self.operation {
            operation.get_ref().check().map_err(|reason| (Some(operation.span()), reason))?;
        }
        if self.operation.iter().all(|operation| operation.get_ref().weight == 0) {
            return Err((Some(first), "all weights are 0: nothing would be sent".into()));
        }
        Ok(())
    }

    fn into_spec(self, name: &str) -> Spec {
        let plain = |number: Option<Spanned<usize>>, default: usize| number.map_or(default, Spanned::into_inner);
        let pattern = self.pattern.unwrap_or(Pattern::Mix);
        Spec {
            name: name.to_owned(),
            about: self.about.unwrap_or_default(),
            keys: self.keys.map_or(KEYS_DEFAULT, Spanned::into_inner),
            value_bytes: plain(self.value_bytes, VALUE_BYTES_DEFAULT),
            levels: plain(self.levels, 0),
            create_among_keys: self.create_among_keys.unwrap_or(false),
            list_parents: self.list_parents.map_or(10, Spanned::into_inner),
            list_children: self.list_children.map_or(100, Spanned::into_inner),
            pattern,
            clients_per_lock: plain(self.clients_per_lock, 1),
            ephemerals: plain(self.ephemerals, 0),
            watches: plain(self.watches, usize::from(pattern == Pattern::WatchStorm)),
            operations: self
                .operation
                .into_iter()
                .map(Spanned::into_inner)
                .filter(|operation| operation.weight > 0)
                .collect(),
        }
    }
}

fn span_of<T>(value: &Option<Spanned<T>>) -> Option<Range<usize>> {
    value.as_ref().map(Spanned::span)
}

fn within<T: PartialOrd + Copy + std::fmt::Display>(
    name: &str,
    value: &Option<Spanned<T>>,
    least: T,
    most: T,
) -> Result<(), Wrong> {
    match value {
        Some(value) if !(least..=most).contains(value.get_ref()) => {
            Err((Some(value.span()), format!("`{name}` is {}, not between {least} and {most}", value.get_ref())))
        }
        _ => Ok(()),
    }
}

impl Operation {
    fn check(&self) -> Result<(), String> {
        let has_parts = matches!(self.kind, Kind::Multi | Kind::MultiRead);
        if self.weight > WEIGHT_MAX {
            return Err(format!("`weight` is {}, at most {WEIGHT_MAX}", self.weight));
        }
        if self.size.is_some() && !has_parts {
            return Err("`size` belongs to multi and multi-read".into());
        }
        if self.size.is_some_and(|size| !(1..=PARTS_MAX).contains(&size)) {
            return Err(format!("`size` is not between 1 and {PARTS_MAX}"));
        }
        let writes = matches!(self.kind, Kind::Set | Kind::Create | Kind::Multi);
        if self.value_bytes.is_some() && !writes {
            return Err("`value_bytes` belongs to set, create and multi".into());
        }
        if self.value_bytes.is_some_and(|bytes| bytes > VALUE_BYTES_MAX) {
            return Err(format!("`value_bytes` is above {VALUE_BYTES_MAX}"));
        }
        match self.kind {
            Kind::Multi if self.of.contains(&Of::Keys) => Err("a multi is `of` check, set, create and delete".into()),
            Kind::Multi => self.check_parts(),
            Kind::List if self.of.is_empty() || self.of == [Of::Keys] => Ok(()),
            Kind::List => Err("a list is `of = [\"keys\"]`, or of the parents made for it".into()),
            _ if !self.of.is_empty() => Err("`of` belongs to multi and list".into()),
            _ => Ok(()),
        }
    }

    /// A multi deletes what it has created itself.
    fn check_parts(&self) -> Result<(), String> {
        let mut created = 0;
        for of in self.parts() {
            match of {
                Of::Create => created += 1,
                Of::Delete if created == 0 => {
                    return Err("a multi deletes what it created: `delete` needs a `create` before it".into());
                }
                Of::Delete => created -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// The parts of a multi: `of` by turns, up to its size.
    pub fn parts(&self) -> impl Iterator<Item = Of> {
        let of = if self.of.is_empty() { vec![Of::Set] } else { self.of.clone() };
        let size = self.size.unwrap_or(of.len().max(1));
        of.into_iter().cycle().take(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_workload_is_valid_and_says_what_it_is() {
        for (name, _) in named::NAMED {
            let spec = Spec::load(name).unwrap_or_else(|failure| panic!("{failure}"));
            assert!(!spec.about.is_empty(), "{name}");
        }
        let production = Spec::load("production").expect("valid");
        let total: u64 = production.operations.iter().map(|operation| operation.weight).sum();
        let multis = production.operations.iter().filter(|operation| operation.kind == Kind::Multi);
        assert_eq!((total, multis.map(|operation| operation.weight).sum::<u64>()), (100, 11));
    }

    #[test]
    fn nonsense_is_refused_with_file_line_and_reason() {
        for (text, line, reason) in [
            ("keys = 5\n\nkeys = 6\n", 3, "duplicate key"),
            ("what is this", 1, "key"),
            ("keyz = 5\n", 1, "unknown field `keyz`"),
            ("# a comment\nkeys = 0\n[[operation]]\nkind = \"get\"\n", 2, "`keys` is 0"),
            ("keys = -1\n", 1, "invalid value"),
            ("keys = \"many\"\n", 1, "invalid type"),
            ("about = \"nothing\"\n", 1, "no operation"),
            ("[[operation]]\nkind = \"gett\"\n", 2, "unknown variant `gett`"),
            ("[[operation]]\nkind = \"get\"\nweight = 0\n", 1, "all weights are 0"),
            ("[[operation]]\nkind = \"get\"\n[[operation]]\nkind = \"set\"\nsize = 3\n", 3, "`size` belongs to multi"),
            ("[[operation]]\nkind = \"multi\"\nof = [\"delete\"]\n", 1, "needs a `create`"),
            ("[[operation]]\nweight = 3\n", 1, "missing field `kind`"),
            ("pattern = \"lock\"\n[[operation]]\nkind = \"get\"\n", 2, "no operations"),
            ("pattern = \"lock\"\nwatches = 5\n", 2, "another pattern"),
            ("pattern = \"watch-storm\"\nwatches = 0\n", 2, "nobody would be told"),
            ("pattern = \"nonsense\"\n", 1, "unknown variant"),
        ] {
            let failure = Spec::parse("my.toml", "my", text).expect_err(text).to_string();
            assert!(failure.starts_with(&format!("my.toml:{line}: ")), "{text:?}: {failure}");
            assert!(failure.contains(reason), "{text:?}: {failure}");
        }
        assert!(Spec::load("no-such").expect_err("unknown").to_string().contains("million-children"));
        assert!(Spec::load("/no/such.toml").expect_err("no file").to_string().contains("No such file"));
    }
}
