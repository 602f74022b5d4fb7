//! Who may import whom. Reads the sources, prints the table of arrows that exist, and fails on one that is not
//! allowed below: a new arrow is a visible choice, made here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Folder, and the folders it may import from; left may import right, never back.
const ALLOWED: [(&str, &[&str]); 18] = [
    ("types", &[]),
    ("message", &["types"]),
    ("observe", &["types"]),
    ("config", &["types"]),
    ("zab", &["types", "message", "observe"]),
    ("election", &["types", "message", "observe"]),
    ("tree", &["types", "message", "observe"]),
    ("session", &["types", "message", "observe"]),
    ("watch", &["types", "message", "observe"]),
    ("request", &["session", "tree", "types", "message", "observe"]),
    ("wire", &["types", "message"]),
    ("io", &["types", "observe"]),
    ("storage", &["wire", "message", "types", "observe", "io"]),
    ("runtime", &["io", "message", "types", "observe"]),
    (
        "ensemble",
        &[
            "election", "zab", "request", "session", "tree", "storage", "wire", "runtime", "io", "message", "types",
            "observe",
        ],
    ),
    ("admin", &["runtime", "io", "message", "observe", "config", "types"]),
    (
        "server",
        &["request", "session", "watch", "tree", "wire", "admin", "runtime", "io", "message", "types", "observe"],
    ),
    (
        "sim",
        &[
            "server", "ensemble", "election", "zab", "request", "session", "watch", "tree", "storage", "wire", "admin",
            "runtime", "io", "config", "message", "types", "observe",
        ],
    ),
];

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the source folder is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            found.push((path.display().to_string(), text));
        }
    }
}

/// Folders named by `crate::…` paths, in `use` lines and inline, tests and comments left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut folders = BTreeSet::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            // `$crate` and the like are no paths of ours.
            let before = line[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let name: String = line[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            folders.insert(name);
        }
    }
    folders.remove("");
    folders
}

#[test]
fn folders_import_only_what_lies_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut arrows: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut violations = Vec::new();
    for (folder, allowed) in ALLOWED {
        let mut files = Vec::new();
        sources(&root.join(folder), &mut files);
        assert!(!files.is_empty(), "src/{folder} has no sources");
        for (file, text) in
            files.iter().filter(|(file, _)| !file.ends_with("tests.rs") && !file.ends_with("testing.rs"))
        {
            for imported in imports(text) {
                if imported != folder && !allowed.contains(&imported.as_str()) {
                    violations.push(format!("{file} imports {imported}"));
                }
                if imported != folder {
                    arrows.entry(folder).or_default().insert(imported);
                }
            }
        }
    }
    for (folder, _) in ALLOWED {
        let imported: Vec<&str> = arrows.get(folder).into_iter().flatten().map(String::as_str).collect();
        println!(
            "{folder:>9} -> {}",
            if imported.is_empty() { "nothing of ours".to_owned() } else { imported.join(", ") }
        );
    }
    assert!(violations.is_empty(), "arrows that are not in the table:\n{}", violations.join("\n"));
}

#[test]
fn futures_live_in_runtime_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (folder, _) in ALLOWED.iter().filter(|(folder, _)| *folder != "runtime") {
        let mut files = Vec::new();
        sources(&root.join(folder), &mut files);
        for (file, text) in files {
            assert!(!text.contains("async fn") && !text.contains(".await"), "{file} holds a future");
        }
    }
}

#[test]
fn the_simulator_touches_no_real_device() {
    const DEVICES: [&str; 9] = [
        "real_disk",
        "io::file",
        "io::mmap",
        "io::clock",
        "io::process",
        "io::signals",
        "std::fs::read",
        "std::net::Tcp",
        "std::time",
    ];
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sim"), &mut files);
    assert!(!files.is_empty());
    // Tests may look at a clock to know when to stop.
    for (file, text) in files.into_iter().filter(|(file, _)| !file.ends_with("tests.rs")) {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found: Vec<&str> = code.filter(|line| DEVICES.iter().any(|device| line.contains(device))).collect();
        assert!(found.is_empty(), "{file} reaches a real device: {found:?}");
    }
}

#[test]
fn every_folder_of_the_library_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = fs::read_to_string(root.join("lib.rs")).expect("lib.rs");
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let name = line.trim_end_matches(';');
        assert!(ALLOWED.iter().any(|(folder, _)| *folder == name), "{name} has no row");
    }
}

#[test]
fn a_forbidden_arrow_is_found() {
    let found = imports("use crate::server::Worker;\nfn f() { crate::admin::isro(x) }\n// crate::tree in a comment\n");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["admin", "server"]);
}
