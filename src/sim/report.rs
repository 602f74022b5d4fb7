//! What a simulation, or a campaign of them, went through; and the hash that two runs of a seed have in common.

use super::counts::counts;
use super::disk::DiskCounts;
use crate::message::TxnBody;
use crate::storage::recovery;
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
        /// Known to one server alone, and of them those that became known to all.
        sessions_local,
        sessions_upgraded,
        /// Of servers without a leader.
        greetings_read_only,
        replies_read_only,
        /// Connections that outlived a leader and went on.
        connections_kept,
        /// Writes asked for over a connection that its client had left, and answered there all the same.
        writes_left_behind,
        writes_left_behind_done,
        /// Learners brought up to date.
        diffs,
        truncs,
        snaps,
        /// Sent to the end.
        snaps_finished,
        // Transactions.
        creates,
        creates_ephemeral,
        creates_sequential,
        containers,
        ttls,
        deletes,
        containers_deleted,
        sets,
        acls,
        multis,
        multis_failed,
        sessions_created,
        sessions_closed,
        errors,
        /// Members changed.
        reconfigs,
        // Members.
        reconfigs_asked,
        reconfigs_refused,
        /// In force for the first time; those that a leader put in force that was none any more.
        configurations,
        leaders_that_left,
        config_files_rewritten,
        /// That were pending, and that not all had heard of who were needed.
        changes_spread,
        // Faults.
        crashes,
        crashes_planned,
        crashes_of_leader,
        crashes_of_all,
        crashes_of_some,
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
        strandings,
        hushes,
        /// Of files at rest; and those that were too early after another, or too dangerous.
        damages,
        damages_put_off,
        directories_emptied,
        /// Servers that stopped themselves.
        stops,
        restarts,
        refused_starts,
    }
}

impl Counts {
    pub fn txn(&mut self, body: &TxnBody) {
        let count = match body {
            TxnBody::Create { path, ephemeral, .. } => {
                self.creates_ephemeral += u64::from(*ephemeral);
                self.creates_sequential += u64::from(is_sequential(path));
                &mut self.creates
            }
            TxnBody::CreateContainer { .. } => &mut self.containers,
            TxnBody::CreateTtl { .. } => &mut self.ttls,
            TxnBody::Delete { op: OpCode::DeleteContainer, .. } => &mut self.containers_deleted,
            TxnBody::Delete { .. } => &mut self.deletes,
            TxnBody::SetData { op: OpCode::Reconfig, .. } => &mut self.reconfigs,
            TxnBody::SetData { .. } => &mut self.sets,
            TxnBody::SetAcl { .. } => &mut self.acls,
            TxnBody::Multi(subs) if subs.iter().any(|sub| matches!(sub.body, TxnBody::Error(_))) => {
                &mut self.multis_failed
            }
            TxnBody::Multi(_) => &mut self.multis,
            TxnBody::CreateSession { .. } => &mut self.sessions_created,
            TxnBody::CloseSession { .. } => &mut self.sessions_closed,
            TxnBody::Error(_) | TxnBody::Check { .. } => &mut self.errors,
        };
        *count += 1;
    }
}

/// A name with the ten digits that `SEQUENTIAL` appends.
fn is_sequential(path: &str) -> bool {
    path.len() > 10 && path.as_bytes()[path.len() - 10..].iter().all(u8::is_ascii_digit)
}

/// How often each row of the recovery table decided what a log file's end means, in the table's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryRows([u64; recovery::TABLE.len()]);

impl RecoveryRows {
    /// Cases of refusals that are not of the table do not count.
    pub fn count(&mut self, case: &str) {
        if let Some(row) = recovery::TABLE.iter().position(|row| row.case == case) {
            self.0[row] += 1;
        }
    }

    pub fn add(&mut self, other: &RecoveryRows) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Each with its case.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        recovery::TABLE.iter().map(|row| row.case).zip(self.0)
    }
}

/// What one seed came to.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    pub counts: Counts,
    pub disks: DiskCounts,
    pub recovery_rows: RecoveryRows,
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

/// A hash, eight bytes at a time, over everything that happens, in order.
#[derive(Clone, Copy, Debug)]
pub struct TraceHash(pub u64);

impl Default for TraceHash {
    fn default() -> TraceHash {
        TraceHash(0xcbf2_9ce4_8422_2325)
    }
}

impl TraceHash {
    pub fn number(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 29);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.number(u64::from_le_bytes(*word)));
        for byte in rest {
            self.number(u64::from(*byte));
        }
    }
}
