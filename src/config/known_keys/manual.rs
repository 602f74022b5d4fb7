//! Keeps the config keys of `docs/compatibility.md` and the table one thing: the text is made from the table, and the
//! test fails when the page says something else.

use super::{ALIASES, KNOWN_KEYS, Kind, KnownKey, Place, Standing, TLS_KEYS};
use std::fmt::Write;

const BEGIN: &str = "<!-- config keys: begin -->\n";
const END: &str = "<!-- config keys: end -->\n";

/// What ZooKeeper does not have.
const OWN: [&str; 3] = ["cores.", "request.", "stall."];

fn place(row: &KnownKey) -> &'static str {
    match row.place {
        Place::File => "file",
        Place::FileOrProcess => "file, process",
        Place::Property => "property",
        Place::PropertyOrProcess => "property, process",
        Place::Process => "process",
    }
}

fn values(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true, false".to_owned(),
        Kind::YesNo => "yes, no".to_owned(),
        Kind::Int { min, max } if min <= i64::from(i32::MIN) && max >= i64::from(i32::MAX) => "whole number".to_owned(),
        Kind::Int { min, max } if max == i64::from(i32::MAX) || max == i64::MAX => {
            format!("≥ {min}")
        }
        Kind::Int { min, max } if min == max => min.to_string(),
        Kind::Int { min, max } if min <= i64::from(i32::MIN) => format!("≤ {max}"),
        Kind::Int { min, max } => format!("{min} to {max}"),
        Kind::Real { min, max } if min > f64::MIN => format!("{min} to {max}"),
        Kind::Real { .. } => "number".to_owned(),
        Kind::OneOf(words) => {
            words.iter().map(|word| if word.is_empty() { "(empty)" } else { word }).collect::<Vec<_>>().join(", ")
        }
        Kind::Text => "text".to_owned(),
    }
}

fn here(row: &KnownKey) -> String {
    match row.standing {
        Standing::Used if OWN.iter().any(|prefix| row.name.starts_with(prefix)) => "RingKeeper's own".to_owned(),
        Standing::Used => "equal".to_owned(),
        Standing::Ensemble => "equal (ensemble)".to_owned(),
        Standing::EnsembleIgnored(reason) => format!("**different** in an ensemble, ignored: {reason}"),
        Standing::EnsembleNotYet(reason) => format!("**not yet** in an ensemble: {reason}"),
        Standing::EnsembleRefused(reason) => format!("**not yet** in an ensemble, true stops the start: {reason}"),
        Standing::Ignored(reason) => format!("**different**, ignored: {reason}"),
        Standing::NotYet(reason) => format!("**not yet**: {reason}"),
    }
}

fn rows(text: &mut String, rows: &[KnownKey]) {
    text.push_str("\n| key | where | value | default | here |\n|---|---|---|---|---|\n");
    for row in rows {
        let default = match row.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let _ =
            writeln!(text, "| `{}` | {} | {} | {default} | {} |", row.name, place(row), values(row.kind), here(row));
    }
}

fn manual() -> String {
    let mut text = String::new();
    rows(&mut text, KNOWN_KEYS);
    text.push_str(
        "\nTLS: each of these also as `ssl.quorum.…` for the quorum ports and the AdminServer, `ssl.sslProvider` excepted.\n",
    );
    rows(&mut text, TLS_KEYS);
    text.push_str("\nNames in ZooKeeper's manual, and the keys that they stand for here:\n");
    text.push_str("\n| name | key |\n|---|---|\n");
    for (alias, name) in ALIASES {
        let _ = writeln!(text, "| `{alias}` | `{name}` |");
    }
    text.push('\n');
    text
}

#[test]
fn the_page_says_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let expected = manual();
    if std::env::var_os("REFRESH_DOCS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(written, expected, "refresh the page with: REFRESH_DOCS=1 cargo test --lib manual");
}
