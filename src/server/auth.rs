//! Auth and sasl packets: answered at once by the connection, not ordered behind requests. What they prove counts for
//! requests read afterwards.

use super::connection::Connection;
use super::worker::Worker;
use crate::message::AuthPacket;
use crate::request::{AuthVerdict, authenticate};
use crate::types::{ErrorCode, Xid, Zxid};
use crate::wire::client::response;

impl Worker {
    pub(super) fn auth(&mut self, conn: &mut Connection, xid: Xid, packet: &AuthPacket<'_>) {
        let mut ids = conn.ids.to_vec();
        match authenticate(packet, conn.peer.ip(), &mut ids, &self.rules.auth) {
            AuthVerdict::Accepted => {
                conn.ids = ids.into();
                response::header_only(conn.out.tail(), xid, Zxid::ZERO, 0);
                self.sent_reply(conn);
            }
            AuthVerdict::Failed => {
                let scheme = packet.scheme.unwrap_or("null");
                tracing::warn!("authentication of {} with scheme {scheme} failed", conn.peer);
                response::error(conn.out.tail(), xid, Zxid::ZERO, ErrorCode::AuthFailed);
                self.end(conn);
            }
            AuthVerdict::Closed => self.end(conn),
        }
    }

    /// A server without a login for SASL says so by a null token and goes on.
    pub(super) fn sasl(&mut self, conn: &mut Connection, xid: Xid) {
        response::sasl(conn.out.tail(), xid, 0, None);
        self.sent_reply(conn);
    }
}
