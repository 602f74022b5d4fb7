//! What people use a coordination service for: the recipes of kazoo and of Curator, unchanged, against ensembles whose leaders
//! are killed again and again, and whose clients are stopped for longer than their sessions live.
//!
//! Two processes with two participants each take part in every recipe (`recipes/kazoo_recipes.py`,
//! `recipes/CuratorRecipes.java`); `ledger` judges what they leave behind. Judged is what the service promises, not how well
//! a library bears a lost connection: the order of zxids, and ephemerals that live as long as their sessions.
//!
//! `RINGKEEPER_RECIPES_KILLS` leaders are killed in each ensemble (3).

mod ledger;
pub mod linearizable;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::clients::{Program, must_exist};
use crate::codec::Body;
use crate::differential::walk;
use crate::ensemble::{Ensemble, JAVA, OURS};
use crate::process::{Kind, target_dir};
use crate::stories::*;
use ledger::Facts;

const PROCESSES: [&str; 2] = ["red", "blue"];
const PARTICIPANTS: [&str; 4] = ["red1", "red2", "blue1", "blue2"];
/// Between the return of a server and the next fault.
const PEACE: Duration = Duration::from_millis(1200);
/// How long a killed server is away: sometimes it misses an election, sometimes it takes part.
const AWAY: Duration = Duration::from_millis(700);
/// The sessions of both programs live 4 s.
const PAUSE: Duration = Duration::from_millis(5500);
/// After the last fault everybody has to get on within this. A session that is to expire takes 4 s of it.
const ONWARD: Duration = Duration::from_secs(30);

fn kills() -> usize {
    std::env::var("RINGKEEPER_RECIPES_KILLS").map_or(3, |text| text.parse().expect("a number of kills"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Library {
    Kazoo,
    Curator,
}

impl Library {
    /// Recipes in which there must be one at a time.
    fn exclusive(self) -> &'static [&'static str] {
        match self {
            Library::Kazoo => &["lock", "election"],
            Library::Curator => &["lock", "latch", "selector"],
        }
    }

    fn ready(self, home: &Path) -> Command {
        let source = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing/recipes").join(name);
        match self {
            Library::Kazoo => {
                let python = target_dir().join("clients/python/bin/python");
                must_exist(&python, "tools/fetch-clients (Debian package python3-venv)");
                let mut command = Command::new(python);
                command.arg(source("kazoo_recipes.py"));
                command
            }
            Library::Curator => {
                let classes = compiled(&source("CuratorRecipes.java"), home);
                let mut command = Command::new("java");
                command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
                command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=off");
                command.arg("-cp").arg(format!("{}:{}", classes.display(), curator())).arg("CuratorRecipes");
                command
            }
        }
    }
}

fn curator() -> String {
    let jars = target_dir().join("clients/curator/lib");
    must_exist(&jars, "tools/fetch-clients (Debian packages default-jdk-headless, maven)");
    format!("{}/*", jars.display())
}

fn compiled(source: &Path, home: &Path) -> PathBuf {
    let classes = home.join("classes");
    let output = Command::new("javac")
        .args(["-nowarn", "-cp", &curator(), "-d"])
        .arg(&classes)
        .arg(source)
        .output()
        .unwrap_or_else(|e| {
            panic!("cannot run javac: {e}. Install default-jdk-headless, or run tools/test, which does")
        });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    classes
}

/// An ensemble and the two programs.
struct Stage {
    library: Library,
    ensemble: Ensemble,
    programs: Vec<Program>,
    killed: usize,
    paused: usize,
}

impl Stage {
    fn set(library: Library, kinds: &[Kind]) -> Stage {
        let mut ensemble = Ensemble::of(kinds);
        ensemble.start_led_by(kinds.len());
        let servers: Vec<String> = ensemble.addresses().iter().map(ToString::to_string).collect();
        let patience = Duration::from_secs(120 + 20 * kills() as u64);
        let programs = PROCESSES.map(|process| {
            let mut command = library.ready(ensemble.home());
            command.args([&servers.join(","), process, &PARTICIPANTS.join(",")]);
            Program::start_for(command, "python3-venv or default-jdk-headless", patience)
        });
        let mut stage = Stage { library, ensemble, programs: programs.into(), killed: 0, paused: 0 };
        stage.programs.iter_mut().for_each(|program| {
            program.wait_for("BEGUN");
        });
        stage
    }

    fn kill_leaders(&mut self) {
        for round in 0..kills() {
            sleep(PEACE);
            // Who is stopped for so long has lost what it holds when it goes on, and does not know.
            let paused = round % 4 == 1;
            if paused {
                self.programs[1].pause(true);
                self.paused += 1;
            }
            let leader = self.ensemble.leader();
            self.ensemble.server_mut(leader).kill();
            self.killed += 1;
            sleep(if paused { PAUSE } else { AWAY });
            if paused {
                self.programs[1].pause(false);
            }
            self.ensemble.server_mut(leader).spawn();
            self.ensemble.wait_until_serving(&[leader]);
        }
        self.ensemble.wait_until_all_serve();
    }

    /// Nothing is stuck: everybody leads once more, holds the lock once more, and everybody is told of new configurations.
    fn wait_until_everybody_got_on(&self) -> Duration {
        let began = Instant::now();
        let mut eye = self.eye();
        let seen: Vec<BTreeSet<String>> = self.library.exclusive().iter().map(|recipe| eye.entries(recipe)).collect();
        let config = eye.config();
        let mut missing: BTreeSet<(&str, &str)> = BTreeSet::new();
        for recipe in self.library.exclusive() {
            missing.extend(PARTICIPANTS.map(|name| (*recipe, name)));
        }
        while !missing.is_empty() || eye.config() < config + 3 {
            assert!(
                began.elapsed() < ONWARD,
                "{ONWARD:?} after the last fault {missing:?} are stuck, and the configuration went from {config} to {}\n{}",
                eye.config(),
                self.ensemble.logs()
            );
            for (recipe, seen) in self.library.exclusive().iter().zip(&seen) {
                for entry in eye.entries(recipe).difference(seen) {
                    let text = eye.text(&format!("/ledger/{recipe}/{entry}"));
                    missing.retain(|(of, name)| of != recipe || text.split(' ').next() != Some(name));
                }
            }
            sleep(Duration::from_millis(100));
        }
        began.elapsed()
    }

    fn eye(&self) -> Eye {
        Eye { connection: session(self.ensemble.address(1), 10_000).0 }
    }

    /// Ends the work; says what the programs know.
    fn stop(&mut self) -> Facts {
        self.programs[0].say("quiet");
        self.programs[0].wait_for("QUIET");
        self.programs.iter_mut().for_each(|program| program.say("stop"));
        let mut facts = Facts::default();
        for program in &mut self.programs {
            loop {
                let Some(line) = program.line() else { program.fail("ended without its facts") };
                if line == "READY" {
                    break;
                }
                facts.add(&line);
            }
        }
        facts
    }

    fn quit(self) -> Ensemble {
        for mut program in self.programs {
            program.say("quit");
            program.wait_for("DONE");
            program.end();
        }
        self.ensemble
    }
}

/// Looks on while the others work.
struct Eye {
    connection: crate::client::Connection,
}

impl Eye {
    fn entries(&mut self, recipe: &str) -> BTreeSet<String> {
        match self.connection.ask(1, &children(&format!("/ledger/{recipe}"))) {
            Body::NamesStat(names, _) => names.iter().map(|name| name.as_str().expect("text").to_owned()).collect(),
            other => panic!("no children but {other:?}"),
        }
    }

    fn text(&mut self, path: &str) -> String {
        text_of(&self.connection.ask(1, &get(path))).to_owned()
    }

    fn exists(&mut self, path: &str) -> bool {
        code_of(self.connection.call(1, &exists(path))) == 0
    }

    fn config(&mut self) -> u64 {
        self.text("/config").parse().expect("a number")
    }
}

fn leaders_die(library: Library, kinds: &[Kind]) {
    let mut stage = Stage::set(library, kinds);
    stage.kill_leaders();
    let onward = stage.wait_until_everybody_got_on();
    let facts = stage.stop();
    if library == Library::Curator {
        // Their contenders stood in containers, which the leader removes now that nobody stands any more.
        let mut eye = stage.eye();
        wait_until("the containers are gone", || {
            library.exclusive().iter().all(|recipe| !eye.exists(&format!("/recipes/{recipe}")))
        });
    }
    stage.ensemble.assert_all_equal();
    let tree = walk::tree(stage.ensemble.address(1));
    let mut text = ledger::judge(&tree, &facts, library.exclusive(), &PARTICIPANTS);
    match library {
        Library::Kazoo => {
            text += &ledger::judge_count(&tree, &facts, "/recipes/counter", 0);
            text += &ledger::judge_barriers(&tree, &PARTICIPANTS);
            text += &ledger::judge_queues(&tree, &facts);
        }
        // Curator's begins with the znode that holds the first number.
        Library::Curator => {
            text += &ledger::judge_count(&tree, &facts, "/recipes/counter", 1);
            text += &ledger::judge_shares(&tree, &facts);
        }
    }
    let kinds: Vec<String> = kinds.iter().map(|kind| kind.name()).collect();
    println!(
        "{library:?} on {kinds:?}: {} leaders killed, {} pauses; all got on {onward:?} after the last;{text}",
        stage.killed, stage.paused
    );
    let ensemble = stage.quit();
    for id in ensemble.ids() {
        let left: Vec<String> = walk::tree(ensemble.address(id))
            .iter()
            .filter(|(_, node)| node.owner() != 0)
            .map(|(path, _)| path.clone())
            .collect();
        assert!(left.is_empty(), "all sessions are closed, yet on server {id} there are {left:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kazoo_while_leaders_die() {
        leaders_die(Library::Kazoo, &[OURS, OURS, OURS]);
    }

    #[test]
    fn curator_while_leaders_of_both_kinds_die() {
        leaders_die(Library::Curator, &[OURS, JAVA, OURS]);
    }
}
