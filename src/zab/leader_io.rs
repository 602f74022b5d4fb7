//! What can happen to a leader, and what it can ask for.

use crate::message::{ForwardedRequest, QuorumPacket};
use crate::types::{LinkId, QuorumConfig, ServerId, SessionId, Zxid};
use std::sync::Arc;

/// Names a sync that waits; chosen by whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncToken(pub u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderInput {
    /// From a learner, in the order in which it was sent.
    Packet {
        link: LinkId,
        packet: QuorumPacket,
    },
    Closed {
        link: LinkId,
    },
    /// A server has said in an election of which epoch its data are.
    DataEpoch {
        server: ServerId,
        epoch: i64,
    },
    /// This server's own log is on disk through `through`.
    Flushed {
        through: Zxid,
    },
    /// A transaction was prepared: its zxid is the next one, its entry is on the way to the log and to the learners.
    Proposed {
        zxid: Zxid,
    },
    /// The same, of a reconfiguration: the zxid is the version of `config`, which is kept durably already. Only while
    /// `Leader::is_reconfiguring` says no.
    ProposedConfig {
        config: Arc<QuorumConfig>,
    },
    /// Somebody wants to be told when all that was committed before now is applied: a client of this server, or with
    /// `link` one of that learner.
    Sync {
        link: Option<LinkId>,
        token: SyncToken,
    },
    /// Time has passed.
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderOutput {
    /// Behind everything that was sent to this learner before.
    Send {
        link: LinkId,
        packet: QuorumPacket,
    },
    Close {
        link: LinkId,
        why: String,
    },
    /// Durable before the next output is looked at.
    PersistAcceptedEpoch {
        epoch: i64,
    },
    /// Durable before the next output is looked at.
    PersistCurrentEpoch {
        epoch: i64,
    },
    /// Bring this learner, whose log ends at `last_zxid`, to the leader's history; then send it NEWLEADER, but not while the
    /// leader is reconfiguring: it would take what it names for committed; then everything that is proposed and committed,
    /// in order. To an observer only what is committed.
    Feed {
        link: LinkId,
        server: ServerId,
        last_zxid: Zxid,
        observer: bool,
        /// A snapshot takes the place of all that its log holds.
        drops_log: bool,
    },
    /// The epoch has a quorum. All of the history that the leader was elected with is committed; requests may be prepared.
    Established {
        epoch: i64,
    },
    /// Everything through this zxid is committed.
    Commit {
        through: Zxid,
    },
    /// The newest configuration there is; durable before the next output is looked at. NEWLEADER names it.
    Seen {
        config: Arc<QuorumConfig>,
    },
    /// This configuration is committed: by the last `Commit` if its version is that zxid, else by the epoch. Learners are
    /// told with that commit who leads from now on; where that is another server, this role ends by itself.
    Activate {
        config: Arc<QuorumConfig>,
        designated: ServerId,
    },
    /// A learner's client wants this.
    Forwarded {
        link: LinkId,
        request: ForwardedRequest,
    },
    /// Sessions that a learner has heard from, with their timeouts in ms.
    Touched {
        link: LinkId,
        sessions: Vec<(SessionId, i32)>,
    },
    /// A learner asks whether a session is alive.
    Revalidate {
        link: LinkId,
        session: SessionId,
        /// Over a connection that outlived a leader.
        resumes: bool,
    },
    /// To be answered once everything through `after` is applied: for a learner by a SYNC packet behind those commits.
    Synced {
        link: Option<LinkId>,
        token: SyncToken,
        after: Zxid,
    },
    /// The role ends; nothing more comes.
    GiveUp {
        why: String,
    },
}

/// The protocol's name of a packet.
pub(super) fn name_of(packet: &QuorumPacket) -> &'static str {
    match packet {
        QuorumPacket::Request(_) => "REQUEST",
        QuorumPacket::Proposal { .. } => "PROPOSAL",
        QuorumPacket::Ack { .. } => "ACK",
        QuorumPacket::Commit { .. } => "COMMIT",
        QuorumPacket::Ping { .. } => "PING",
        QuorumPacket::Revalidate { .. } | QuorumPacket::Revalidated { .. } => "REVALIDATE",
        QuorumPacket::Sync => "SYNC",
        QuorumPacket::Inform { .. } => "INFORM",
        QuorumPacket::CommitAndActivate { .. } => "COMMITANDACTIVATE",
        QuorumPacket::InformAndActivate { .. } => "INFORMANDACTIVATE",
        QuorumPacket::NewLeader { .. } => "NEWLEADER",
        QuorumPacket::LearnerInfo { observer: false, .. } => "FOLLOWERINFO",
        QuorumPacket::LearnerInfo { observer: true, .. } => "OBSERVERINFO",
        QuorumPacket::UpToDate => "UPTODATE",
        QuorumPacket::Diff { .. } => "DIFF",
        QuorumPacket::Trunc { .. } => "TRUNC",
        QuorumPacket::Snap { .. } => "SNAP",
        QuorumPacket::LeaderInfo { .. } => "LEADERINFO",
        QuorumPacket::AckEpoch { .. } => "ACKEPOCH",
    }
}
