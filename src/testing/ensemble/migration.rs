//! The rolling migration that the README shows, in its short form: the command itself runs, with kazoo's clients.

use std::process::Command;

#[test]
fn three_java_servers_are_replaced_one_by_one_and_put_back() {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(format!("{root}/tools/migrate"));
    command.args(["--demo", "--brief", "--ringkeeper", env!("CARGO_BIN_EXE_ringkeeper")]);
    let output = command.output().expect("cannot run tools/migrate: Python is missing, or run tools/test");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|line| line.contains("-> RingKeeper, serves as ")).count(), 3, "{said}");
    let back = format!("-> Java {}, serves as ", crate::process::JAVA_VERSION);
    assert_eq!(said.lines().filter(|line| line.contains(&back)).count(), 3, "{said}");
    assert!(said.contains("every acknowledged write is on every server"), "{said}");
}
