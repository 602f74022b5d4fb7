//! What a server without a leader does with its clients (`ReadOnlyZooKeeperServer`, `ReadOnlyRequestProcessor`): it takes those
//! who said that they are content with reads, and answers everything else with -119.

use super::connection::{Connection, Phase};
use super::worker::Worker;
use crate::message::ConnectRequest;
use crate::message::lane::Standing;
use crate::tree::View;
use crate::types::{ErrorCode, OpCode, SessionId, Xid};
use crate::wire::client::{Header, response};

impl Worker {
    pub(super) fn is_read_only(&self) -> bool {
        self.standing.get() == Standing::ReadOnly
    }

    /// False: the connection is closed, or gets no session.
    pub(super) fn admits_to_read_only(
        &mut self,
        conn: &mut Connection,
        asked: &ConnectRequest,
        view: View<'_>,
    ) -> bool {
        if asked.session != SessionId::NONE {
            // Only the leader can say whether it lives.
            let is_global = view.session(asked.session).is_some();
            if is_global {
                self.end(conn);
            }
            return !is_global;
        }
        if !self.rules.local_sessions {
            // As Java answers it: no ConnectResponse, but the header of a refused write; nothing more is read then.
            response::error(conn.out.tail(), Xid(0), view.last_zxid(), ErrorCode::NotReadOnly);
            self.sent_reply(conn);
            conn.phase = Phase::Connecting;
        }
        self.rules.local_sessions
    }

    /// Answers what is not for a read-only server.
    pub(super) fn refuse_as_read_only(&mut self, conn: &mut Connection, header: &Header<'_>, view: View<'_>) {
        response::error(conn.out.tail(), header.xid, view.last_zxid(), ErrorCode::NotReadOnly);
        self.sent_reply(conn);
    }
}

/// What a read-only server refuses.
pub(super) fn needs_leader(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::Sync
            | OpCode::Create
            | OpCode::Create2
            | OpCode::CreateTtl
            | OpCode::CreateContainer
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::Reconfig
            | OpCode::SetAcl
            | OpCode::Multi
    )
}
