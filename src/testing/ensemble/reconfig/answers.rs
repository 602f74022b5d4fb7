//! What a leader answers to whom: the same requests to a Java leader and to ours, through the leader itself and through a
//! follower, must be answered by the same codes and the same configurations.

use super::*;
use crate::ensemble::{JAVA, OURS};

struct Question {
    joining: String,
    leaving: String,
    members: String,
    config_id: i64,
}

fn questions(lines: &Lines) -> Vec<Question> {
    let ask = |joining: &str, leaving: &str, members: &str, config_id: i64| Question {
        joining: joining.to_owned(),
        leaving: leaving.to_owned(),
        members: members.to_owned(),
        config_id,
    };
    let (one, two, three) = (lines.participant(1), lines.participant(2), lines.participant(3));
    let all = format!("{one},{two},{three}");
    let mut questions = vec![
        ask("", "", "", 7),
        ask("", "1,2", "", -1),
        ask("", "1,2,3", "", -1),
        ask("", "server.3", "", -1),
        ask("", "3x", "", -1),
        ask("", "", "tickTime=5", -1),
        ask("", "", "version=5", -1),
        ask("", "", "server.1=a:1:2:observer", -1),
        ask("", "", "server.1=a:1:2", -1),
        ask("", "", &format!("{one},server.2=127.0.0.1:1:2:observer"), -1),
        ask("", "", &format!("{one},{two},server.x=127.0.0.1:1:2"), -1),
        ask("", "", &format!("{one},{two},group.1=1"), -1),
        ask("", "", &format!("{one},{two},group.1=1:1"), -1),
        ask("", "", &format!("{one},{two},group.1=1:2:3"), -1),
        ask("", "", &format!("{one},{two},group1=1:2"), -1),
        ask("", "", &format!("{one},{two},weight.x=1"), -1),
        // No quorum of it is there.
        ask("", "1,2", "server.8=127.0.0.1:1:2,server.9=127.0.0.1:1:2", -1),
        ask("server.8=127.0.0.1:1:2;3,server.9=127.0.0.1:3:4;5", "1,2", "", -1),
        // The same members in a new version, and lists that say the same in other words.
        ask("", "", "", -1),
        ask("", "9", "", -1),
        ask("", "", &all, -1),
        ask("", "", &all.replace(',', "\n"), -1),
        ask("server.4=127.0.0.1:1:2:observer;3", "", "", -1),
        ask("server.4=[::1]:1:2:observer;[::]:3", "", "", -1),
        ask("server.4=zoo4.example.invalid:1:2:OBSERVER;3", "", "", -1),
        ask(" server.4 = 127.0.0.1:5:6:observer;7 ", " 4 ", "", -1),
        ask("x.4=127.0.0.1:5:6:observer;7", "", "", -1),
        ask("4=127.0.0.1:5:6:observer;7", "", "", -1),
        ask("", "4", "", -1),
        ask("", "", &format!("{all},group.1=1:2:3"), -1),
        // In groups only as a whole.
        ask("", "", "", -1),
        ask("server.4=127.0.0.1:5:6:observer;7", "", "", -1),
        ask("", "", &format!("{all},group.1=1,group.2=2,group.3=3,weight.1=2"), -1),
        ask("", "", &all, -1),
    ];
    for spec in [
        "server.4=d:1:2",
        "server.4=d:1:2;",
        "server.4=d:1:1;3",
        "server.4=d:1:2:king;3",
        "server.4=d:1:2|e:1:2;3",
        "server.4=d:1:2:observer:9;3",
        "server.4=d:1;3",
        "server.4",
        "server.4=a=b",
        "server.x=d:1:2;3",
        "server.4=d:1:99999;3",
        "server.4=d:x:2;3",
        "server.4=d:1:2;99999",
        "server.4=d:1:2;x",
        "server.4=d:1:2;1;2",
        "server.4=[::1:1:2;3",
    ] {
        questions.push(ask(spec, "", "", -1));
    }
    questions
}

/// Versions are zxids of one run.
fn without_version(answer: Option<Result<String, i32>>) -> String {
    match answer.expect("an answer") {
        Ok(config) => config.rsplit_once("version=").map_or(config.clone(), |(members, _)| members.to_owned()),
        Err(code) => code.to_string(),
    }
}

/// Server 3 leads; asked are it and a follower of the other kind.
fn answers(kinds: &[Kind]) -> Vec<String> {
    let (mut ensemble, lines) = reconfigurable(kinds, 3);
    start(&mut ensemble, &[2, 3]);
    start(&mut ensemble, &[1]);
    assert_eq!(ensemble.leader(), 3, "{}", ensemble.logs());
    let mut answers = Vec::new();
    for at in [3, 1] {
        let mut anybody = visitor(ensemble.address(at));
        answers.push(format!("{:?}", try_reconfig(&mut anybody, &request("", "", "", -1)).map(|said| said.is_ok())));
        answers.push(without_version(try_reconfig(&mut anybody, &request("", "1", "", -1))));
        let mut client = operator(ensemble.address(at));
        for Question { joining, leaving, members, config_id } in questions(&lines) {
            let said = try_reconfig(&mut client, &request(&joining, &leaving, &members, config_id));
            let said = without_version(said);
            let ports = |text: String| {
                (1..=3).fold(text, |text, id| text.replace(&lines.participant(id), &format!("server.{id}=…")))
            };
            answers.push(ports(format!("{at}: +{joining:?} -{leaving:?} {members:?} {config_id}: {said}")));
        }
        let shown = config_at(ensemble.address(at));
        let newest = i64::from_str_radix(shown.rsplit_once('=').expect("a version").1, 16).expect("a number");
        answers.push(without_version(try_reconfig(&mut client, &request("", "", "", newest))).len().to_string());
        answers.push(without_version(try_reconfig(&mut client, &request("", "", "", newest))));
    }
    ensemble.assert_all_equal();
    answers
}

#[test]
fn ours_answers_what_javas_answers() {
    let (javas, ours) = (answers(&[OURS, JAVA, JAVA]), answers(&[JAVA, OURS, OURS]));
    let pairs = javas.iter().zip(&ours);
    let differing: Vec<String> =
        pairs.filter(|(java, our)| java != our).map(|(java, our)| format!("java {java}\nours {our}")).collect();
    assert!(differing.is_empty() && javas.len() == ours.len(), "{}", differing.join("\n"));
    println!("{} answers", ours.len());
}

/// Without `reconfigEnabled` nothing is reconfigured, and no file is written.
#[test]
fn without_the_key_it_is_refused() {
    for kinds in [[JAVA, JAVA, OURS], [OURS, OURS, JAVA]] {
        let (mut ensemble, lines) = reconfigurable(&kinds, 3);
        for id in ensemble.ids() {
            ensemble.server_mut(id).set("reconfigEnabled", "false");
        }
        start(&mut ensemble, &[2, 3]);
        start(&mut ensemble, &[1]);
        for id in ensemble.ids() {
            let mut client = operator(ensemble.address(id));
            let op = request(&lines.of(1, "observer"), "", "", -1);
            assert_eq!(try_reconfig(&mut client, &op), Some(Err(-123)), "server {id}");
            assert!(config_at(ensemble.address(id)).ends_with("\nversion=0"), "server {id}");
            let names = fs::read_dir(ensemble.server(id).config_file("")).expect("a directory").flatten();
            let written: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            assert!(written.iter().all(|name| !name.starts_with("zoo.cfg.")), "server {id}: {written:?}");
        }
    }
}
