//! What this server calls itself. Monitoring tools read the release of ZooKeeper out of it, so that comes first.

/// The ZooKeeper release whose behaviour is followed.
const ZOOKEEPER: &str = "3.9.5";

/// This release and its date. A constant rather than the clock of the machine that compiles, so that equal sources make
/// equal binaries.
const RELEASE: (&str, &str) = ("0.1.0", "2026-11-22 00:00 UTC");

/// The package's own version, for `--version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `3.9.5-ringkeeper-0.1.0, built on 2026-11-22 00:00 UTC`, in the form of ZooKeeper's own.
pub fn version_line() -> String {
    format!("{ZOOKEEPER}-ringkeeper-{VERSION}, built on {}", RELEASE.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_release_has_a_new_date() {
        assert_eq!(RELEASE.0, VERSION, "give the release its date");
    }

    #[test]
    fn the_form_is_zookeepers() {
        let line = version_line();
        let (version, date) = line.split_once(", built on ").unwrap();
        assert!(version.starts_with("3.9."));
        assert_eq!(date.len(), "2026-02-11 20:18 UTC".len());
    }
}
