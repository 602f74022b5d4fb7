//! A disk without room: a small memory file system under the data directory, filled to the brim by a file of ours.
//!
//! The mount is made in a mount namespace of the story's own thread (`namespaces.rs`), which the server it starts inherits.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::client::{Connection, Welcome};
use crate::codec::{Frame, Op};
use crate::namespaces::with_namespaces;
use crate::process::{Kind, Server};
use crate::stories::*;

const DISK_BYTES: u64 = 16 << 20;
const SYSTEM_ERROR: i32 = -1;

/// Runs `story` with a home whose data directory is a disk of its own.
fn with_small_disk(name: &str, story: fn(&Path)) {
    let home = tempfile::tempdir().expect("cannot make a temporary directory");
    let path = home.path();
    fs::create_dir(path.join("data")).expect("cannot make the mount point");
    with_namespaces(&format!("disk_full::tests::{name}"), libc::CLONE_NEWNS, || {
        mount_small_disk(&path.join("data"), DISK_BYTES)?;
        story(path);
        Ok(())
    });
}

/// A file system of `bytes` in memory; the mount namespace is the caller's own.
pub fn mount_small_disk(at: &Path, bytes: u64) -> io::Result<()> {
    let at = CString::new(at.to_str().expect("a text path")).expect("no NUL in it");
    let checked = |outcome: libc::c_int| if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let size = CString::new(format!("size={bytes}")).expect("no NUL in it");
    // SAFETY: plain system calls with NUL-terminated strings.
    unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        checked(libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()))?;
        checked(libc::mount(c"tmpfs".as_ptr(), at.as_ptr(), c"tmpfs".as_ptr(), 0, size.as_ptr().cast()))
    }
}

/// Takes all the room there is, and gives it back.
pub struct Filler(PathBuf);

impl Filler {
    pub fn fill(home: &Path) -> Filler {
        let path = home.join("data/filler");
        let mut file = File::options().create(true).append(true).open(&path).expect("cannot make the filler");
        // In small pieces at the end: not a page is to be left.
        for piece in [1 << 20, 4096, 1] {
            while file.write_all(&vec![7; piece]).is_ok() {}
        }
        Filler(path)
    }

    pub fn give_back(self) {
        fs::remove_file(&self.0).expect("cannot remove the filler");
    }
}

fn server(home: &Path) -> Server {
    let mut server = Server::new(Kind::Ours, home);
    server.set("preAllocSize", "256").set("tickTime", "500").set("maxSessionTimeout", "120000");
    server.set("snapCount", "200000");
    server
}

/// Writes until the disk is full; returns how many writes were acknowledged and the zxid of the last one.
fn write_until_full(client: &mut Connection) -> (u64, i64) {
    let (mut acknowledged, mut last_zxid) = (0, 0);
    let padding = "p".repeat(1000);
    loop {
        let n = acknowledged + 1;
        match client.call(n as i32, &set("/counter", format!("{n} {padding}").as_bytes())) {
            Ok((_, Frame::Reply { err: 0, zxid, .. })) => (acknowledged, last_zxid) = (n, zxid),
            Ok((_, Frame::Reply { err: SYSTEM_ERROR, zxid, .. })) => {
                assert_eq!(zxid, last_zxid, "a write that is refused takes no zxid");
                return (acknowledged, last_zxid);
            }
            other => panic!("instead of a reply: {other:?}"),
        }
        assert!(acknowledged < 100_000, "the disk never fills up");
    }
}

fn counter(client: &mut Connection) -> u64 {
    let body = client.ask(7, &get("/counter"));
    text_of(&body).split(' ').next().expect("a number").parse().expect("a number")
}

fn is_refused(client: &mut Connection, op: &Op) -> bool {
    match code_of(client.call(8, op)) {
        SYSTEM_ERROR => true,
        0 => false,
        other => panic!("{op:?} was answered {other}"),
    }
}

fn full_disk(home: &Path) {
    let mut server = server(home);
    server.start();
    let (mut client, welcome) = session(server.address(), 100_000);
    client.ask(1, &create("/counter", b"0", PERSISTENT));
    client.ask(2, &create("/mine", b"", EPHEMERAL));
    let (mut silent, _) = session(server.address(), 1000);
    silent.ask(1, &create("/silent", b"", EPHEMERAL));
    let filler = Filler::fill(home);
    let (acknowledged, last_zxid) = write_until_full(&mut client);
    assert!(acknowledged > 10, "room that was prepared is used");
    every_write_is_refused(&mut client, last_zxid);
    let log = server.log();
    assert_eq!(log.matches("no room in the transaction log").count(), 1, "one clear line, not one per write:\n{log}");

    // Reads go on, nobody expires although one has been silent for long, and waiting costs nothing.
    let cpu = server.cpu_time();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(counter(&mut client), acknowledged);
        client.ask(3, &exists("/silent"));
    }
    let cpu = server.cpu_time() - cpu;
    assert!(cpu < began.elapsed() * 2 / 3, "{cpu:?} of processor time in {:?} of waiting", began.elapsed());

    // Killed and started again on the full disk: nothing acknowledged is lost, known sessions are let in and may read.
    server.kill();
    server.start();
    let (mut client, _) = reattach(server.address(), &welcome, 100_000).expect("the session is lost");
    assert_eq!(counter(&mut client), acknowledged);
    client.ask(4, &exists("/mine"));
    no_room_then_room(&mut server, client, &welcome, filler, acknowledged);
}

/// Whatever kind of write: -1, and the zxid stays where it is.
fn every_write_is_refused(client: &mut Connection, last_zxid: i64) {
    let writes = [
        set("/counter", b"no"),
        create("/new", b"", PERSISTENT),
        create("/new-", b"", SEQUENTIAL),
        delete("/mine"),
        multi(vec![create("/half", b"", PERSISTENT), set("/counter", b"half")]),
        // One that would fail anyway: even an error takes a zxid, so there is none to give.
        delete("/not-there"),
    ];
    for op in &writes {
        let Ok((_, Frame::Reply { err, zxid, .. })) = client.call(9, op) else { panic!("no reply to {op:?}") };
        assert_eq!((err, zxid), (SYSTEM_ERROR, last_zxid), "{op:?}");
    }
    for path in ["/new", "/half"] {
        assert_eq!(code_of(client.call(10, &exists(path))), NO_NODE);
    }
}

/// After a restart on the full disk: once there is room, writing goes on and the silent session expires at last.
fn no_room_then_room(
    server: &mut Server,
    mut client: Connection,
    welcome: &Welcome,
    filler: Filler,
    acknowledged: u64,
) {
    assert!(is_refused(&mut client, &set("/counter", b"no")), "the disk is still full");
    filler.give_back();
    wait_until("writes are served again", || {
        !is_refused(&mut client, &set("/counter", (acknowledged + 1).to_string().as_bytes()))
    });
    assert!(server.log().contains("takes data again"), "{}", server.log_tail());
    wait_until("the silent session expires", || code_of(client.call(11, &exists("/silent"))) == NO_NODE);
    let (mut newcomer, _) = session(server.address(), 10_000);
    newcomer.ask(1, &create("/newcomer", b"", PERSISTENT));
    server.kill();
    server.start();
    let (mut client, _) = reattach(server.address(), welcome, 100_000).expect("the session is lost");
    assert_eq!(counter(&mut client), acknowledged + 1);
    client.ask(12, &exists("/newcomer"));
    client.ask(13, &exists("/mine"));
}

/// Full in the middle of a stream of pipelined writes, again and again; each time some are refused and none are lost.
fn filling_up_under_load(home: &Path) {
    let mut server = server(home);
    server.start();
    let (mut client, welcome) = session(server.address(), 100_000);
    client.ask(1, &create("/many", b"", PERSISTENT));
    let mut made = std::collections::BTreeSet::new();
    let mut number = 0;
    for round in 0..4 {
        let mut filler = Some(Filler::fill(home));
        let mut refused = 0;
        while refused < 300 {
            let burst: Vec<u64> = (0..100).map(|n| number + n).collect();
            number += 100;
            for n in &burst {
                client.push(*n as i32, &create(&format!("/many/{n}"), &[b'd'; 900], PERSISTENT));
            }
            client.flush().expect("cannot send");
            for n in &burst {
                match next(&mut client, crate::codec::op::CREATE).expect("no answer") {
                    Frame::Reply { err: 0, .. } => assert!(made.insert(n.to_string())),
                    Frame::Reply { err: SYSTEM_ERROR, .. } => refused += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        if round % 2 == 0 {
            server.kill();
            filler.take().expect("still there").give_back();
            server.start();
            client = reattach(server.address(), &welcome, 100_000).expect("the session is lost").0;
        }
        if let Some(filler) = filler {
            filler.give_back();
        }
        wait_until("writes are served again", || !is_refused(&mut client, &set("/many", b"")));
        let crate::codec::Body::NamesStat(names, _) = client.ask(2, &children("/many")) else { panic!("no children") };
        let names: std::collections::BTreeSet<String> =
            names.iter().map(|name| name.as_str().expect("text").to_string()).collect();
        assert!(names == made, "round {round}: {} there, {} acknowledged", names.len(), made.len());
    }
}

/// No room for a snapshot, but for the log: the server goes on and says so. (ZooKeeper ends itself.)
fn no_room_for_snapshots(home: &Path) {
    let mut server = server(home);
    server.set("snapCount", "60");
    server.start();
    let (mut client, _) = session(server.address(), 100_000);
    client.ask(1, &create("/big", b"", PERSISTENT));
    // Fits twice, as log and as snapshot, with a segment's slack for each of them; not once where the filler is.
    for n in 0..6 {
        let big = vec![b'b'; 900_000];
        if is_refused(&mut client, &create(&format!("/big/{n}"), &big, PERSISTENT)) {
            break;
        }
    }
    let filler = Filler::fill(home);
    for n in 0..120 {
        client.call(n, &set("/big", b"")).expect("the server goes on");
    }
    wait_until("a snapshot fails", || {
        let _ = client.call(1, &set("/big", b"again"));
        server.log().contains("writing the snapshot")
    });
    assert!(server.is_running());
    let Frame::Reply { err: 0, .. } = client.call(1, &get("/big")).expect("reads go on").1 else {
        panic!("reads do not go on")
    };
    filler.give_back();
    wait_until("a snapshot succeeds", || {
        let _ = client.call(1, &set("/big", b"again"));
        server.log().rsplit("writing the snapshot").next().is_some_and(|after| after.contains("written"))
    });
    // The next one may be on its way.
    wait_until("nothing is left behind", || {
        let files = fs::read_dir(server.data_dir().join("version-2")).expect("cannot list");
        let names = files.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        !names.into_iter().any(|name| name.starts_with("snapshot.") && name.ends_with(".tmp"))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_costs_writes_but_neither_data_nor_sessions() {
        with_small_disk("a_full_disk_costs_writes_but_neither_data_nor_sessions", full_disk);
    }

    #[test]
    fn a_disk_that_fills_up_under_load_loses_nothing() {
        with_small_disk("a_disk_that_fills_up_under_load_loses_nothing", filling_up_under_load);
    }

    #[test]
    fn a_snapshot_without_room_does_not_stop_the_server() {
        with_small_disk("a_snapshot_without_room_does_not_stop_the_server", no_room_for_snapshots);
    }
}
