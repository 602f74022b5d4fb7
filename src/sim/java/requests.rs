//! What learners' clients ask a modelled Java leader for (`PrepRequestProcessor`, facts sheet §10): every request that is not a
//! sync becomes a proposal, an error transaction where it is refused.

use super::leader::Leader;
use super::outbox::Failure;
use super::peer::Ground;
use crate::message::{ForwardedRequest, TxnHeader};
use crate::request::{self, Executed, RequestRules, Requester};
use crate::tree::TreeWriter;
use crate::types::{LinkId, OpCode, SessionId, Zxid};
use crate::wire::Reader;
use crate::wire::client::{Request, decode};

impl Leader {
    pub(super) fn requested(
        &mut self,
        link: LinkId,
        asked: ForwardedRequest,
        ground: &mut Ground<'_>,
    ) -> Result<(), Failure> {
        let ForwardedRequest { session, cxid, op, body, ids } = asked;
        let now = ground.now.mono;
        match OpCode::from_code(op) {
            Some(OpCode::Sync) => self.sync(link, ground),
            Some(OpCode::CreateSession) => {
                let Ok(timeout_ms) = Reader::new(&body).int("session timeout") else {
                    return Failure::misled("a createSession without a timeout was forwarded");
                };
                self.sessions.track(session, timeout_ms, now);
                self.sessions.own(session, link);
                self.execute(session, cxid, ground, |tree, header, rules| {
                    request::create_session(tree, header, timeout_ms, rules)
                });
            }
            Some(OpCode::CloseSession) => self.close_session(session, cxid, ground),
            _ => {
                // Java's leader makes no transaction of what it cannot read, and the learner waits for one for ever.
                let Ok(Request::Write(op)) = decode(op, &body) else {
                    return Failure::misled(format!("a request of type {op} was forwarded that cannot be read"));
                };
                let refusal = self.sessions.refusal(session, link);
                let by = Requester { ids: &ids, refusal, ephemeral_refusal: None };
                self.execute(session, cxid, ground, |tree, header, rules| {
                    request::execute(tree, header, op, by, rules, None)
                });
            }
        }
        Ok(())
    }

    fn close_session(&mut self, session: SessionId, cxid: i32, ground: &mut Ground<'_>) {
        self.execute(session, cxid, ground, |tree, header, rules| request::close_session(tree, header, rules, None));
        // Java keeps it as one that is closing until the transaction is committed: what it writes is refused alike.
        self.sessions.remove(session);
    }

    pub(super) fn expire(&mut self, ground: &mut Ground<'_>) {
        for session in self.sessions.expired(ground.now.mono) {
            self.close_session(session, 0, ground);
        }
    }

    fn execute(
        &mut self,
        session: SessionId,
        cxid: i32,
        ground: &mut Ground<'_>,
        make: impl FnOnce(&mut TreeWriter, TxnHeader, &RequestRules) -> Executed,
    ) {
        let zxid: Zxid = self.next_zxid();
        let header = TxnHeader { session, cxid, zxid, time: ground.now.wall };
        let database = &mut *ground.database;
        let executed = make(&mut database.tree, header, &database.rules);
        self.propose(&executed, ground);
    }
}
