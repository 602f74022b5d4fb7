//! What this server is at the moment, and what each role keeps.

use super::feeding::Look;
use super::learner_feed::Feed;
use super::observer_master::Observers;
use super::snapshot_load::SnapshotLoad;
use crate::message::Txn;
use crate::message::lane::ConnRef;
use crate::tree::View;
use crate::types::{ErrorCode, Instant, LinkId, ServerId, SessionId, Xid, Zxid};
use crate::zab::{Leader, LeaderOutput, Learner, LearnerOutput, SyncToken};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub(super) enum Role {
    /// A server on its own: what is flushed is committed.
    Alone,
    /// A role is over; what it staged goes to the disk before anything else begins.
    Ending,
    Looking,
    Leading(Box<Leading>),
    Learning(Box<Learning>),
}

/// Where a session's client is, or was before it went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Here,
    Learner(ServerId),
}

pub(super) struct Leading {
    pub zab: Leader,
    /// Empty: where the next outputs go.
    pub outputs: Vec<LeaderOutput>,
    pub feeds: BTreeMap<LinkId, Feed>,
    /// Learners for which the log is looked at.
    pub looks: BTreeMap<LinkId, Look>,
    /// Where each session's client came last, or wrote from, since this server leads.
    pub owners: BTreeMap<SessionId, Owner>,
    /// Syncs of clients of this server.
    pub syncs: BTreeMap<SyncToken, WaitingSync>,
    pub next_token: u64,
    /// Counted as committed through here.
    pub counted: Zxid,
    /// Who leads after each reconfiguration that this leader has committed: learners are told of it whenever they get there.
    pub activations: BTreeMap<Zxid, ServerId>,
}

pub(super) struct WaitingSync {
    pub from: ConnRef,
    pub xid: Xid,
    pub path: Option<String>,
}

pub(super) struct Learning {
    pub zab: Learner,
    /// Empty: where the next outputs go.
    pub outputs: Vec<LearnerOutput>,
    pub leader: Dial,
    /// In the log, not applied, in order.
    pub unapplied: VecDeque<Unapplied>,
    /// So many of them, from the front, have had their znodes fetched ahead.
    pub fetched: usize,
    /// Writes that went to the leader, by session, in order.
    pub forwarded: BTreeMap<SessionId, VecDeque<Forwarded>>,
    /// Syncs that went to the leader; it answers them in order.
    pub syncs: VecDeque<LearnerSync>,
    /// Clients that came with a session, until the leader has said whether it lives.
    pub attaching: BTreeMap<SessionId, VecDeque<Attaching>>,
    /// Sessions for which others have written since they were confirmed here: their clients have gone elsewhere, and what is
    /// left of them here does not outlive this role.
    pub elsewhere: BTreeSet<SessionId>,
    /// Sessions heard of since then are told with the next answer to a PING, monotonic ms.
    pub touched_since_ms: u64,
    /// A snapshot that is being loaded into the head.
    pub loading: Option<SnapshotLoad>,
    /// When bytes of the leader came last.
    pub heard_at: Instant,
    /// Observers that follow this server; `None`: it takes none.
    pub observers: Option<Box<Observers>>,
}

/// Whose sync it was.
pub(super) enum LearnerSync {
    Own(WaitingSync),
    ThroughObserver(LinkId),
}

impl Learning {
    /// The oldest transaction if it is committed. Those behind it, which will follow soon, have their znodes fetched.
    pub fn next_committed(&mut self, through: Zxid, view: View<'_>) -> Option<Unapplied> {
        if self.fetched == 0 {
            let ahead = self.unapplied.iter().take(View::PREFETCHED_AT_ONCE);
            self.fetched = ahead.len();
            view.prefetch(ahead.flat_map(|next| next.txn.body.paths()));
        }
        let next = self.unapplied.pop_front_if(|next| next.zxid() <= through)?;
        self.fetched -= 1;
        Some(next)
    }

    /// A snapshot of which nothing more comes is given up then: the state machine waits for its end alone.
    pub fn stalls_at(&self, init_ms: u64) -> Option<Instant> {
        self.loading.is_some().then(|| self.heard_at.plus_millis(init_ms))
    }
}

impl Role {
    pub fn name(&self) -> &'static str {
        match self {
            Role::Alone => "alone",
            Role::Ending => "ending",
            Role::Looking => "looking",
            Role::Leading(_) => "leading ends",
            Role::Learning(_) => "following ends",
        }
    }
}

/// The way to the leader's quorum port, or for an observer to any follower's `observerMasterPort`.
pub(super) struct Dial {
    pub server: ServerId,
    /// At least one; tried in turn. Whose they are: an observer may follow a follower.
    pub addresses: VecDeque<(ServerId, String, u16)>,
    pub link: LinkId,
    pub retry_at: Option<Instant>,
    pub retry_ms: u64,
    /// Not tried any longer then.
    pub ends: Instant,
    pub is_open: bool,
}

pub(super) struct Unapplied {
    pub txn: Txn,
    pub entry: Arc<[u8]>,
    /// When the leader's proposal came.
    pub appended: Instant,
}

impl Unapplied {
    pub fn zxid(&self) -> Zxid {
        self.txn.header.zxid
    }
}

/// What the client waits for.
pub(super) struct Forwarded {
    pub from: ConnRef,
    pub xid: Xid,
    pub what: Awaited,
    /// When it was taken from the client's worker.
    pub since: Instant,
}

pub(super) enum Awaited {
    Write {
        /// What this server knows of the reason if it fails; the leader has only heard half of it.
        known_refusal: Option<ErrorCode>,
        /// Reads of its connection are to be answered from the state right before it.
        overtakes: bool,
    },
    CreateSession {
        read_only: Option<bool>,
    },
    CloseSession,
    /// A session of this server's that becomes global; its client waits for what comes behind.
    Upgrade,
    /// A write that is refused here, which is told when its turn comes.
    Refused {
        why: ErrorCode,
        overtakes: bool,
    },
    /// A local session has ended, which is told when its turn comes.
    LocalClose,
}

impl Awaited {
    /// Nothing comes from the leader for it.
    pub fn is_decided(&self) -> bool {
        matches!(self, Awaited::Refused { .. } | Awaited::LocalClose)
    }
}

pub(super) struct Attaching {
    pub timeout_ms: i32,
    pub how: Attach,
}

pub(super) enum Attach {
    /// On a new connection.
    Connected { from: ConnRef, read_only: Option<bool> },
    /// On one that outlived a leader.
    Resumed { from: ConnRef },
    /// To an observer that follows this server.
    ThroughObserver { link: LinkId, resumes: bool },
}

impl Attach {
    /// The connection here that waits.
    pub fn from(&self) -> Option<ConnRef> {
        match self {
            Attach::Connected { from, .. } | Attach::Resumed { from } => Some(*from),
            Attach::ThroughObserver { .. } => None,
        }
    }

    /// On a connection that outlived a leader, wherever that is.
    pub fn resumes(&self) -> bool {
        match self {
            Attach::Connected { .. } => false,
            Attach::Resumed { .. } => true,
            Attach::ThroughObserver { resumes, .. } => *resumes,
        }
    }
}
