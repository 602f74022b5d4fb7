//! kazoo's `reconfig` against three of ours and one that joins.

use super::*;
use crate::clients::{Program, must_exist, source};
use crate::ensemble::OURS;
use crate::process::target_dir;
use std::process::Command;

#[test]
fn kazoo_reconfigures_ours() {
    let (mut ensemble, lines) = reconfigurable(&[OURS; 4], 3);
    start(&mut ensemble, &[1, 2, 3, 4]);
    let python = target_dir().join("clients/python/bin/python");
    must_exist(&python, "tools/fetch-clients (Debian package python3-venv)");
    let mut command = Command::new(python);
    command.arg(source("kazoo_reconfig.py"));
    for id in ensemble.ids() {
        command.arg(ensemble.address(id).to_string()).arg(lines.participant(id));
    }
    let mut program = Program::start_for(command, "python3-venv", PATIENCE);
    program.wait_for("DONE");
    program.end();
}
