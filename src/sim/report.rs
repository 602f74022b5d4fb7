//! What a simulation, or a campaign of them, went through; and the hash that two runs of a seed have in common.

use super::counts::counts;
use super::disk::DiskCounts;
use crate::message::TxnBody;
use crate::types::OpCode;
use std::fmt;

counts! {
    pub struct Counts {
        seeds,
        servers,
        simulated_seconds,
        events,
        turns,
        leader_changes,
        commits,
        requests,
        replies,
        writes_acknowledged,
        syncs,
        watch_events,
        sessions_expired,
        sessions_resumed,
        /// Learners brought up to date.
        diffs,
        truncs,
        snaps,
        // Transactions.
        creates,
        containers,
        ttls,
        deletes,
        containers_deleted,
        sets,
        acls,
        multis,
        sessions_created,
        sessions_closed,
        errors,
        // Faults.
        crashes,
        crashes_planned,
        crashes_of_leader,
        crashes_of_all,
        kills,
        pauses,
        partitions,
        one_way_partitions,
        isolations,
        cuts,
        slow_disks,
        full_disks,
        disk_errors,
        wall_jumps,
        /// Servers that stopped themselves.
        stops,
        restarts,
        refused_starts,
    }
}

impl Counts {
    pub fn txn(&mut self, body: &TxnBody) {
        let count = match body {
            TxnBody::Create { .. } => &mut self.creates,
            TxnBody::CreateContainer { .. } => &mut self.containers,
            TxnBody::CreateTtl { .. } => &mut self.ttls,
            TxnBody::Delete { op: OpCode::DeleteContainer, .. } => &mut self.containers_deleted,
            TxnBody::Delete { .. } => &mut self.deletes,
            TxnBody::SetData { .. } => &mut self.sets,
            TxnBody::SetAcl { .. } => &mut self.acls,
            TxnBody::Multi(_) => &mut self.multis,
            TxnBody::CreateSession { .. } => &mut self.sessions_created,
            TxnBody::CloseSession { .. } => &mut self.sessions_closed,
            TxnBody::Error(_) | TxnBody::Check { .. } => &mut self.errors,
        };
        *count += 1;
    }
}

/// What one seed came to.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    pub counts: Counts,
    pub disks: DiskCounts,
    pub trace_hash: u64,
    /// What did not hold.
    pub failure: Option<String>,
}

impl Report {
    /// The line that shows it again.
    pub fn repeat(&self) -> String {
        format!("cargo run --release --bin sim -- --seed {}", self.seed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: trace {:016x}", self.seed, self.trace_hash)?;
        match &self.failure {
            None => Ok(()),
            Some(failure) => write!(f, "\n{failure}\nagain: {}", self.repeat()),
        }
    }
}

/// FNV-1a over everything that happens, in order.
#[derive(Clone, Copy, Debug)]
pub struct TraceHash(pub u64);

impl Default for TraceHash {
    fn default() -> TraceHash {
        TraceHash(0xcbf2_9ce4_8422_2325)
    }
}

impl TraceHash {
    pub fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
