//! Every key that ZooKeeper 3.9 knows, what a value of it looks like, and what becomes of it here.
//!
//! The table is the one place that decides which keys are used, which are ignored and why, and which are still to come;
//! `docs/compatibility.md` is tested against it. Defaults are ZooKeeper's.

#[cfg(test)]
mod manual;
mod table;
mod value;

pub use table::{ALIASES, KNOWN_KEYS, TLS_KEYS};
pub use value::{Kind, Value};

/// Where a key may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A key of `zoo.cfg` that ZooKeeper's parser itself knows.
    File,
    /// As `File`, and as process property of the same name.
    FileOrProcess,
    /// Property `zookeeper.K`; in `zoo.cfg` without the prefix.
    Property,
    /// As `Property`, and as process property without the prefix.
    PropertyOrProcess,
    /// Process property of exactly this name: `-DK=value`, never in `zoo.cfg`.
    Process,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does here what it does in ZooKeeper.
    Used,
    /// It does for members of an ensemble what it does in ZooKeeper. On a server of its own it does what it does there: most
    /// often nothing.
    Ensemble,
    /// As `Ensemble`, but members have no use for it here; the reason.
    EnsembleIgnored(&'static str),
    /// As `Ensemble`, but to come; what members do until then.
    EnsembleNotYet(&'static str),
    /// As `Ensemble`, but a member that is asked for it does not start; what is missing.
    EnsembleRefused(&'static str),
    /// Has no object here; the reason.
    Ignored(&'static str),
    /// To come; what is missing until then.
    NotYet(&'static str),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct KnownKey {
    /// The name as in `zoo.cfg`; a trailing `*` stands for anything.
    pub name: &'static str,
    pub place: Place,
    pub kind: Kind,
    /// As ZooKeeper's documentation would write it; empty = none.
    pub default: &'static str,
    pub standing: Standing,
}

impl KnownKey {
    fn covers(&self, key: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => key.len() > prefix.len() && key.starts_with(prefix),
            None => key == self.name,
        }
    }

    pub fn is_family(&self) -> bool {
        self.name.ends_with('*')
    }

    /// Whether a key that is not used here would change nothing in ZooKeeper either.
    pub fn without_effect(&self, value: &str) -> bool {
        // The AdminServer is on by default in ZooKeeper; what this server does is what switching it off asks for.
        let as_here = if self.name == "admin.enableServer" { "false" } else { self.default };
        !as_here.is_empty() && value.eq_ignore_ascii_case(as_here)
    }
}

/// The name that counts: of the names that ZooKeeper's manual uses for a key, the one that works.
pub fn canonical(key: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, name)| name)
}

/// The row of a canonical name.
pub fn find(key: &str) -> Option<&'static KnownKey> {
    // The quorum ports and the AdminServer have their own set of the TLS keys, with the same meaning.
    let shared = key.strip_prefix("ssl.quorum.").map(|suffix| format!("ssl.{suffix}"));
    let shared = shared.as_deref().filter(|name| *name != "ssl.sslProvider");
    KNOWN_KEYS
        .iter()
        .chain(TLS_KEYS)
        .find(|row| row.covers(key))
        .or_else(|| TLS_KEYS.iter().find(|row| shared.is_some_and(|name| row.covers(name))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_defaults_are_values() {
        let mut names = HashSet::new();
        for row in KNOWN_KEYS.iter().chain(TLS_KEYS) {
            assert!(names.insert(row.name), "{} twice", row.name);
            if !row.default.is_empty() {
                row.kind.parse(row.default, true).unwrap_or_else(|why| {
                    panic!("default of {}: {why}", row.name);
                });
            }
        }
        for (alias, name) in ALIASES {
            assert!(find(name).is_some(), "{alias} stands for {name}");
            assert!(find(alias).is_none(), "{alias} is a key of its own");
        }
    }

    #[test]
    fn families_and_tls_prefixes() {
        assert_eq!(find("server.1").unwrap().name, "server.*");
        assert_eq!(find("authProvider.sasl").unwrap().name, "authProvider.*");
        assert!(find("authProvider.").is_none());
        assert_eq!(find("ssl.quorum.keyStore.location").unwrap().name, "ssl.keyStore.location");
        assert!(find("ssl.quorum.sslProvider").is_none());
        assert!(find("ssl.quorum.nonsense").is_none());
        assert_eq!(canonical("requestThrottleLimit"), "request_throttle_max_requests");
    }
}
