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
