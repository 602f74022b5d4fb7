//! Directories on which a server must not start, or only after a repair: each refusal names what is wrong and where, and
//! changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::codec::Body;
use crate::process::{Kind, Server};
use crate::stories::*;

const EXIT_CODE_UNEXPECTED: i32 = 1;
const EXIT_CODE_DATA_DIR: i32 = 3;

fn server(home: &Path) -> Server {
    let mut server = Server::new(Kind::Ours, home);
    server.set("preAllocSize", "64").set("snapCount", "1000000").set("forceSync", "no");
    server
}

/// Makes nodes, then ends the server without goodbye; returns how many.
fn some_history(server: &mut Server, nodes: i32) {
    server.start();
    let (mut client, _) = session(server.address(), 60_000);
    for n in 0..nodes {
        client.push(n, &create(&format!("/node-{n:05}"), &[b'd'; 200], PERSISTENT));
    }
    client.flush().expect("cannot send");
    for _ in 0..nodes {
        next(&mut client, crate::codec::op::CREATE).expect("an answer");
    }
    server.kill();
}

fn log_files(server: &Server) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(server.data_dir().join("version-2"))
        .expect("cannot list")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log.")))
        .collect();
    let zxid = |path: &PathBuf| i64::from_str_radix(path.extension().expect("a zxid").to_str().expect("text"), 16);
    files.sort_by_key(|path| zxid(path).expect("a hexadecimal zxid"));
    files
}

/// Content of every file, to see that nothing was changed.
fn contents(server: &Server) -> Vec<(PathBuf, Vec<u8>)> {
    log_files(server).into_iter().map(|path| (path.clone(), fs::read(path).expect("readable"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_on_the_same_directory_gives_up() {
        let home = tempfile::tempdir().unwrap();
        let mut first = server(home.path());
        first.start();
        let mut second = server(home.path());
        assert_eq!(second.start_in_vain(), EXIT_CODE_DATA_DIR);
        // Both log into the same home: the second start's log is the one that is read.
        let log = second.log();
        assert!(log.contains("another server runs on this data directory"), "{log}");
        let (mut client, _) = session(first.address(), 60_000);
        client.ask(1, &create("/still-here", b"", PERSISTENT));
        first.kill();
        second.start();
        let (mut client, _) = session(second.address(), 60_000);
        client.ask(1, &exists("/still-here"));
    }

    #[test]
    fn a_second_server_on_the_same_port_gives_up() {
        for threads in [Threads::One, Threads::Workers(2)] {
            let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            let mut first = server(homes[0].path());
            threads.choose(&mut first);
            first.start();
            let mut second = server(homes[1].path());
            threads.choose(&mut second);
            second.share_port_of(&first);
            assert_eq!(second.start_in_vain(), EXIT_CODE_UNEXPECTED, "{threads:?}");
            assert!(second.log().contains("cannot listen on 127.0.0.1"), "{}", second.log());
            for n in 0..10 {
                session(first.address(), 60_000).0.ask(n, &exists("/"));
            }
        }
    }

    #[test]
    fn a_directory_that_is_none_or_holds_something_else() {
        let home = tempfile::tempdir().unwrap();
        let mut server = server(home.path());
        let version_dir = server.data_dir().join("version-2");
        fs::write(&version_dir, "a file").unwrap();
        assert_eq!(server.start_in_vain(), EXIT_CODE_DATA_DIR);
        assert!(server.log().contains(version_dir.to_str().unwrap()), "{}", server.log());

        fs::remove_file(&version_dir).unwrap();
        fs::create_dir(&version_dir).unwrap();
        // It ends as a snapshot must, so it was one once.
        let damaged = [&b"ZKSN"[..], &[0x5a; 5000], &[0, 0, 0, 1, b'/']].concat();
        fs::write(version_dir.join("snapshot.1f"), damaged).unwrap();
        assert_eq!(server.start_in_vain(), EXIT_CODE_UNEXPECTED, "{}", server.log());
        assert!(server.log().contains("snapshot.1f"), "{}", server.log());

        // A log of something else.
        fs::remove_file(version_dir.join("snapshot.1f")).unwrap();
        drop(server);
        let home = tempfile::tempdir().unwrap();
        let mut server = super::server(home.path());
        some_history(&mut server, 3);
        let foreign = server.data_dir().join("version-2/log.100");
        fs::write(&foreign, "# Log of the garden, week 12. Tulips.".repeat(100)).unwrap();
        assert_eq!(server.start_in_vain(), EXIT_CODE_UNEXPECTED);
        assert!(server.log().contains(foreign.to_str().unwrap()), "{}", server.log());
        assert!(foreign.exists(), "it is somebody's");

        // Files that nobody could take for ours are in nobody's way.
        fs::rename(&foreign, server.data_dir().join("version-2/garden.txt")).unwrap();
        server.start();
        assert!(server.data_dir().join("version-2/garden.txt").exists());
    }

    #[test]
    fn a_log_that_is_corrupt_in_the_middle_is_refused_with_file_and_offset() {
        let home = tempfile::tempdir().unwrap();
        let mut server = server(home.path());
        some_history(&mut server, 1500);
        let files = log_files(&server);
        assert!(files.len() >= 4, "{files:?}");
        let damaged = &files[1];
        let whole = fs::read(damaged).unwrap();
        let mut bytes = whole.clone();
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
        fs::write(damaged, &bytes).unwrap();
        let before = contents(&server);
        for _ in 0..2 {
            assert_eq!(server.start_in_vain(), EXIT_CODE_UNEXPECTED);
            let log = server.log();
            assert!(log.contains(damaged.to_str().unwrap()), "{log}");
            let offset = log.split("at byte ").nth(1).and_then(|rest| rest.split(':').next()).expect("an offset");
            let offset: usize = offset.parse().expect("a number");
            // The offset of the record that holds the flipped bit; they are some 320 bytes long.
            assert!(offset <= at && at - offset < 600, "damaged at {at}, reported at {offset}");
            assert!(before == contents(&server), "a refused start changes nothing");
        }
        fs::write(damaged, whole).unwrap();
        server.start();
        let (mut client, _) = session(server.address(), 60_000);
        let Body::NamesStat(names, _) = client.ask(1, &children("/")) else { panic!("no children") };
        assert_eq!(names.len(), 1501);
    }

    /// One bit of what was acknowledged, within a flush's reach of the end of the log: no crash does that.
    #[test]
    fn a_flipped_bit_before_the_last_transaction_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let mut server = server(home.path());
        some_history(&mut server, 100);
        let last = log_files(&server).pop().unwrap();
        let whole = fs::read(&last).unwrap();
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
        for at in [end / 3, end - 500] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&last, &bytes).unwrap();
            assert_eq!(server.start_in_vain(), EXIT_CODE_UNEXPECTED);
            let log = server.log();
            for told in [last.to_str().unwrap(), "at byte ", "flushed after it", "Nothing was changed. Restore"] {
                assert!(log.contains(told), "not {told:?}:\n{log}");
            }
            assert!(fs::read(&last).unwrap() == bytes, "a refused start changes nothing");
        }
        fs::write(&last, &whole).unwrap();
        server.start();
        let (mut client, _) = session(server.address(), 60_000);
        let Body::NamesStat(names, _) = client.ask(1, &children("/")) else { panic!("no children") };
        assert_eq!(names.len(), 101);
    }

    #[test]
    fn a_torn_tail_is_cut_and_said() {
        let home = tempfile::tempdir().unwrap();
        let mut server = server(home.path());
        some_history(&mut server, 100);
        let last = log_files(&server).pop().unwrap();
        let mut bytes = fs::read(&last).unwrap();
        // Behind the last record stand zeros; its end-of-record mark is the last byte that is none.
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end - 150] ^= 1;
        fs::write(&last, &bytes).unwrap();
        server.start();
        let log = server.log();
        assert!(log.contains(last.to_str().unwrap()) && log.contains("WARN"), "{log}");
        let (mut client, _) = session(server.address(), 60_000);
        let Body::NamesStat(names, _) = client.ask(1, &children("/")) else { panic!("no children") };
        assert_eq!(names.len(), 100, "all but the torn one, and /zookeeper");
        client.ask(2, &create("/after", b"", PERSISTENT));
        server.kill();
        server.start();
        let (mut client, _) = session(server.address(), 60_000);
        client.ask(3, &exists("/after"));
        assert!(!server.log().contains("WARN"), "{}", server.log());
    }
}
