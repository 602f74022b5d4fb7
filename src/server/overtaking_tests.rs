//! Writes that are handed over ahead of reads, and what those reads are answered.

use super::*;
use crate::message::lane::Cuts;
use crate::tree::ParentChange;
use crate::types::StatPersisted;

const EXISTS: i32 = 3;
const SYNC: i32 = 9;

fn exists(xid: i32, path: &str, watch: bool) -> Vec<u8> {
    frame(xid, EXISTS, |w| {
        w.string(path);
        w.bool(watch);
    })
}

/// The xids of the writes, and whether each overtakes.
fn writes(submitted: &[Submit]) -> Vec<(i32, bool)> {
    let write = |submit: &Submit| match submit {
        Submit::Write { xid, overtakes, .. } => (xid.0, *overtakes),
        other => panic!("{other:?}"),
    };
    submitted.iter().map(write).collect()
}

impl Stage {
    fn insert(&mut self, path: &str, zxid: i64) {
        let stat = StatPersisted { czxid: Zxid(zxid), ..StatPersisted::default() };
        self.tree.insert(path, None, None, &stat, ParentChange::default()).expect("a new znode");
        self.tree.set_last_zxid(Zxid(zxid));
    }

    fn cut(&mut self) -> Reply {
        let zxid = self.tree.view().last_zxid();
        Reply::Overtaken { conn: CONN, cut: self.tree.cut(), zxid }
    }

    /// Ends the batch, and has it delivered.
    fn publish(&mut self, replies: Vec<Reply>, effects: Vec<Effect>) {
        let cuts = self.tree.take_cuts().map(|cuts| Cuts(Arc::new(cuts)));
        let (version, last_zxid) = (self.tree.seal(), self.tree.view().last_zxid());
        let (effects, passages) = (Arc::new(effects), Arc::default());
        let deliver = Deliver { version, last_zxid, effects, replies, passages, cuts };
        self.ensemble.deliver(WorkerIndex(0), deliver);
        self.tree.publish_through(version);
        self.turn(vec![]);
    }
}

fn done(xid: i32, zxid: i64) -> Reply {
    write_reply(xid, zxid, Ok(WriteResult::Path("/done".to_owned())))
}

/// Each read sees the writes before it and none behind it, though one batch brings them all.
#[test]
fn overtaken_reads_are_answered_from_the_state_before_the_write() {
    let mut stage = Stage::connected(SessionId::NONE);
    stage.receive(&[
        exists(1, "/a", false),
        create(2),
        exists(3, "/a", false),
        exists(4, "/b", false),
        create(5),
        create(6),
        exists(7, "/b", false),
        exists(8, "/c", false),
        create(9),
        exists(10, "/d", false),
    ]);
    assert_eq!(writes(&stage.submitted()), [(2, false), (5, true), (6, true), (9, true)]);
    assert_eq!(replies(&stage.sent()), [(1, 5, -101)]);
    stage.insert("/a", 6);
    let first = stage.cut();
    stage.insert("/b", 7);
    let second = stage.cut();
    stage.insert("/c", 8);
    let third = stage.cut();
    stage.insert("/d", 9);
    stage.publish(vec![done(2, 6), first, done(5, 7), second, done(6, 8), third, done(9, 9)], Vec::new());
    let expected =
        [(2, 6, 0), (3, 6, 0), (4, 6, -101), (5, 7, 0), (6, 8, 0), (7, 8, 0), (8, 8, 0), (9, 9, 0), (10, 9, 0)];
    assert_eq!(replies(&stage.sent()), expected);
    let conn = stage.worker.get(CONN).expect("connected");
    assert_eq!((conn.outstanding(), conn.overtook, conn.waiting.len(), conn.waiting_bytes), (0, 0, 0, 0));
}

/// What was answered in a turn before has nothing to ask of the cut.
#[test]
fn reads_do_not_wait_for_the_write_behind_them() {
    let mut stage = Stage::connected(SessionId::NONE);
    stage.receive(&[create(2), exists(3, "/b", false), create(4), exists(5, "/b", false)]);
    assert_eq!(writes(&stage.submitted()), [(2, false), (4, true)]);
    stage.insert("/a", 6);
    stage.publish(vec![done(2, 6)], Vec::new());
    assert_eq!(replies(&stage.sent()), [(2, 6, 0), (3, 6, -101)]);
    assert_eq!(stage.worker.get(CONN).expect("connected").outstanding(), 2);
    let cut = stage.cut();
    stage.insert("/b", 7);
    stage.publish(vec![cut, done(4, 7)], Vec::new());
    assert_eq!(replies(&stage.sent()), [(4, 7, 0), (5, 7, 0)]);
}

/// A watch that an overtaken read sets fires for the very write that has overtaken it, and not for one before.
#[test]
fn an_overtaken_watch_fires_for_what_overtook_it() {
    let mut stage = Stage::connected(SessionId::NONE);
    stage.receive(&[create(2), exists(3, "/a", true), exists(4, "/b", true), create(5)]);
    assert_eq!(writes(&stage.submitted()), [(2, false), (5, true)]);
    let created = |path: &str, zxid| {
        let (path, acl) = (Arc::from(path), crate::types::AclList::default());
        Effect { zxid: Zxid(zxid), kind: EffectKind::Created, path, acl, parent_acl: None }
    };
    stage.insert("/a", 6);
    let cut = stage.cut();
    stage.insert("/b", 7);
    stage.publish(vec![done(2, 6), cut, done(5, 7)], vec![created("/a", 6), created("/b", 7)]);
    assert_eq!(replies(&stage.sent()), [(2, 6, 0), (3, 6, 0), (4, 6, -101), (-1, 7, 0), (5, 7, 0)]);
}

/// Whatever is no plain read is overtaken by nothing.
#[test]
fn writes_wait_behind_everything_but_reads() {
    let undecodable = || frame(4, CREATE, |w| w.int(99));
    let sync = || frame(4, SYNC, |w| w.string("/"));
    let unknown = || frame(4, 9999, |_| {});
    let multi_read = || frame(4, 22, |w| w.int(-1));
    for (what, in_between) in
        [("a refusal", undecodable()), ("a multiRead", multi_read()), ("a sync", sync()), ("nonsense", unknown())]
    {
        let rules = ServerRules { replicated: true, ..ServerRules::default() };
        let mut stage = Stage::connected_to(Stage::of(rules, Standing::Following), SessionId::NONE);
        stage.receive(&[create(2), exists(3, "/a", false), in_between, create(5)]);
        assert_eq!(writes(&stage.submitted()), [(2, false)], "{what}");
    }
    let mut stage = Stage::connected(SessionId::NONE);
    stage.receive(&[create(2), exists(3, "/a", false), frame(4, CLOSE_SESSION, |_| {})]);
    assert_eq!(writes(&stage.submitted()), [(2, false)], "a closeSession overtakes nothing");
    // A write behind a refusal has its turn when that is told.
    let mut stage = Stage::connected(SessionId::NONE);
    stage.receive(&[create(2), exists(3, "/b", false), undecodable(), create(5), exists(6, "/a", false), create(7)]);
    assert_eq!(writes(&stage.submitted()), [(2, false)]);
    stage.insert("/a", 6);
    stage.publish(vec![done(2, 6)], Vec::new());
    assert_eq!(replies(&stage.sent()), [(2, 6, 0), (3, 6, -101), (4, 6, -5)]);
    assert_eq!(writes(&stage.submitted()), [(5, false), (7, true)]);
    let cut = stage.cut();
    stage.insert("/b", 8);
    stage.publish(vec![done(5, 7), cut, done(7, 8)], Vec::new());
    assert_eq!(replies(&stage.sent()), [(5, 7, 0), (6, 6, 0), (7, 8, 0)]);
}

/// All that are overtaken are answered together, whether or not the client reads: there is a limit. What is beyond it has its
/// turn when those before it are answered.
#[test]
fn so_many_are_overtaken_and_no_more() {
    let mut stage = Stage::connected(SessionId::NONE);
    let mut frames = vec![create(2)];
    frames.extend((0..32).map(|nth| exists(10 + nth, "/b", false)));
    frames.extend([create(3), create(4), exists(5, "/a", false), create(6), exists(7, "/a", false), create(8)]);
    stage.receive(&frames);
    assert_eq!(writes(&stage.submitted()), [(2, false), (3, true), (4, true)]);
    stage.insert("/a", 6);
    stage.publish(vec![done(2, 6)], Vec::new());
    assert_eq!(replies(&stage.sent()).len(), 33);
    assert_eq!(writes(&stage.submitted()), [(6, true), (8, true)]);
}

/// Nor more than their answers may come to.
#[test]
fn answers_of_any_length_are_not_overtaken() {
    let get = |xid| {
        frame(xid, 4, |w| {
            w.string("/a");
            w.bool(false);
        })
    };
    let reads = [get(3), get(4), get(5)];
    for (data_mib, overtakes) in [(10, true), (11, false)] {
        let rules = ServerRules { frame_bytes_max: data_mib << 20, ..ServerRules::default() };
        let mut stage = Stage::connected_to(Stage::of(rules, Standing::Alone), SessionId::NONE);
        stage.receive(&[create(2), reads.concat(), create(6)]);
        assert_eq!(writes(&stage.submitted()).len(), 1 + usize::from(overtakes), "{data_mib} MiB");
    }
    let mut stage = Stage::connected(SessionId::NONE);
    let lists: Vec<u8> = (3..10)
        .flat_map(|xid| {
            frame(xid, 8, |w| {
                w.string("/");
                w.bool(false);
            })
        })
        .collect();
    stage.receive(&[create(2), lists, create(11)]);
    assert_eq!(writes(&stage.submitted()), [(2, false), (11, true)]);
}

/// Who is gone by then is answered nothing, and what was kept for it is let go.
#[test]
fn a_connection_that_is_gone_leaves_no_cut_behind() {
    let mut stage = Stage::connected(SessionId::NONE);
    stage.receive(&[create(2), exists(3, "/b", false), create(4)]);
    stage.submitted();
    stage.insert("/a", 6);
    let cut = stage.cut();
    stage.insert("/b", 7);
    stage.turn(vec![SocketEvent::Closed { conn: CONN }]);
    stage.publish(vec![done(2, 6), cut, done(4, 7)], Vec::new());
    assert!(replies(&stage.sent()).is_empty());
    stage.tree.tidy();
    assert!(!stage.tree.keeps_for_cuts());
}

/// Somebody else's sync stands earlier in the batch and shows its end. It does not take events away from watches that are set
/// in the midst of it.
#[test]
fn a_sync_is_told_behind_what_overtaken_reads_watch() {
    let mut stage = Stage::connected(SessionId::NONE);
    stage.join(ConnId(1));
    stage.receive(&[create(2), exists(3, "/b", true), create(4)]);
    assert_eq!(writes(&stage.submitted()), [(2, false), (4, true)]);
    let (path, acl) = (Arc::from("/b"), crate::types::AclList::default());
    let created = Effect { zxid: Zxid(7), kind: EffectKind::Created, path, acl, parent_acl: None };
    stage.insert("/a", 6);
    let cut = stage.cut();
    stage.insert("/b", 7);
    let synced = Reply::Synced { conn: ConnId(1), xid: Xid(1), path: None };
    stage.publish(vec![synced, done(2, 6), cut, done(4, 7)], vec![created]);
    let sends = stage.sends();
    let of = |id: u64| sends.iter().filter(|(conn, _)| conn.0 == id).flat_map(|(_, bytes)| replies(bytes)).collect();
    let all: [Vec<_>; 2] = [of(0), of(1)];
    assert_eq!(all, [vec![(2, 6, 0), (3, 6, -101), (-1, 7, 0), (4, 7, 0)], vec![(1, 7, 0)]]);
}
