//! closeSession: a session ends and its ephemerals with it, all under one zxid.

use crate::message::{Effect, TxnBody, TxnHeader};
use crate::request::prepare::RequestRules;
use crate::tree::{TreeWriter, View};
use crate::types::SessionId;

/// Bytes of a transaction around the list: header, count, digest.
const TXN_BYTES_AROUND_LIST: usize = 32 + 4 + 12;

/// Names the ephemerals that go, so that every server deletes the same. A list too long for a peer to read is left
/// out; every server then deletes what it has of that session.
pub(in crate::request) fn prepare_close(view: View<'_>, session: SessionId, rules: &RequestRules) -> TxnBody {
    let list_bytes: usize = view.ephemerals(session).map(|path| 4 + path.len()).sum();
    let fits = TXN_BYTES_AROUND_LIST + list_bytes <= rules.jute_bytes_max;
    let paths = (rules.close_session_list && fits).then(|| view.ephemerals(session).map(str::to_owned).collect());
    TxnBody::CloseSession { paths }
}

/// Deletes what the list names, then whatever else belongs to the session: a replay may find more than the leader had.
pub(in crate::request) fn apply_close(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    paths: Option<&[String]>,
    mut effects: Option<&mut Vec<Effect>>,
) {
    for path in paths.unwrap_or_default() {
        // One that is gone already is fine.
        let _ = super::delete::apply(tree, header, path, effects.as_deref_mut());
    }
    let rest: Vec<String> = tree.view().ephemerals(header.session).map(str::to_owned).collect();
    for path in rest {
        let _ = super::delete::apply(tree, header, &path, effects.as_deref_mut());
    }
    tree.remove_session(header.session);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::EffectKind;
    use crate::request::testbed::{ALICE, BOB, Testbed, create, delete};
    use crate::types::Zxid;

    fn opened() -> Testbed {
        let mut bed = Testbed::default();
        bed.open(ALICE, 10_000);
        bed.open(BOB, 20_000);
        bed.add("/dir");
        for path in ["/e1", "/dir/e2"] {
            bed.run_as(ALICE, create(path, 1)).expect(path);
        }
        bed.run_as(BOB, create("/b", 1)).expect("created");
        bed
    }

    #[test]
    fn a_session_takes_its_ephemerals_with_it() {
        let mut bed = opened();
        assert_eq!(bed.view().session(ALICE), Some(10_000));
        bed.close(ALICE);
        assert_eq!(bed.view().session(ALICE), None);
        assert_eq!(bed.view().session(BOB), Some(20_000));
        assert_eq!(bed.view().node_count(), 4 + 2);
        assert!(bed.view().lookup("/b").is_some());
        let mut changes = bed.changes();
        changes.sort_by_key(|(_, path)| *path);
        let deleted = EffectKind::Deleted;
        assert_eq!(changes, [(deleted, "/dir/e2"), (deleted, "/e1")]);
        assert!(bed.effects.iter().all(|effect| effect.zxid == Zxid(bed.zxid)));
        assert_eq!(bed.stat("/dir").pzxid, Zxid(bed.zxid));
    }

    #[test]
    fn the_list_names_what_goes_unless_it_is_too_long_or_off() {
        let mut bed = opened();
        let listed = |body: &TxnBody| match body {
            TxnBody::CloseSession { paths } => paths.as_ref().map(Vec::len),
            other => panic!("{other:?}"),
        };
        let exact = TXN_BYTES_AROUND_LIST + 4 + "/e1".len() + 4 + "/dir/e2".len();
        for (list, jute_bytes_max, expected) in [(true, exact, Some(2)), (true, exact - 1, None), (false, exact, None)]
        {
            bed.rules.close_session_list = list;
            bed.rules.jute_bytes_max = jute_bytes_max;
            let body = prepare_close(bed.view(), ALICE, &bed.rules);
            assert_eq!(listed(&body), expected);
        }
        // Without the list the same goes, and there is no digest that could be taken for a list.
        bed.rules.close_session_list = false;
        let header = bed.header(ALICE);
        let executed = crate::request::close_session(&mut bed.tree, header, &bed.rules, None);
        assert_eq!(executed.txn.digest, None);
        assert_eq!(bed.view().ephemerals(ALICE).count(), 0);
    }

    /// A replay may find ephemerals that the list does not name, and miss some that it does.
    #[test]
    fn a_replayed_close_deletes_the_list_and_the_rest() {
        let mut bed = opened();
        bed.run(delete("/e1", -1)).expect("deleted");
        let header = bed.header(ALICE);
        let body = TxnBody::CloseSession { paths: Some(vec!["/e1".to_owned(), "/gone".to_owned()]) };
        crate::request::replay(&mut bed.tree, &header, &body);
        assert!(bed.view().lookup("/dir/e2").is_none());
        assert_eq!(bed.view().ephemeral_count(), 1);
        assert_eq!(bed.view().session(ALICE), None);
    }
}
