//! What each learner is sent, and when: DIFF, TRUNC or SNAP by the table of `zab/sync_plan.rs`, from memory, from the log files,
//! from a held version; then its feed, turn by turn.
//!
//! A learner that is farther behind than the history in memory reaches waits until a background job has looked at the log: this
//! thread reads no files.

use super::driver::Ensemble;
use super::history::History;
use super::learner_feed::{Feed, Progress, Words};
use super::log_feed::LogLook;
use super::role::{Leading, Role};
use super::seat::SeatOptions;
use super::snapshot_feed::SnapshotFeed;
use crate::observe::Counter;
use crate::types::{LinkId, Now, ServerId, Zxid};
use crate::zab::{self, OnDisk, SyncPlan};

/// A learner that is to be synchronized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    pub link: LinkId,
    pub server: ServerId,
    pub last_zxid: Zxid,
    pub observer: bool,
    /// A snapshot takes the place of all that its log holds.
    pub drops_log: bool,
}

impl Newcomer {
    /// How far its log will reach when it has taken a snapshot: what the snapshot is named after must not be behind that.
    pub fn keeps_through(&self) -> Zxid {
        if self.drops_log { Zxid::ZERO } else { self.last_zxid }
    }
}

/// The log is being looked at for one.
pub(super) struct Look {
    newcomer: Newcomer,
    look: LogLook,
}

impl Leading {
    /// What learners may be sent: before the epoch is established the history that the leader was elected with, as
    /// committed.
    fn progress(&self, history: &History, flushed: Zxid) -> Progress {
        if self.zab.is_established() {
            return Progress { committed: self.zab.committed(), proposed: self.zab.last_proposed(), flushed };
        }
        let last = history.last();
        Progress { committed: last, proposed: last, flushed }
    }

    /// Observers are brought to the history in turns, so that followers are not kept from it (`LearnerSyncThrottler`): why this
    /// one has to come again. Followers count, and are never turned away.
    fn too_many_syncs(&self, plan: &SyncPlan, options: &SeatOptions) -> Option<String> {
        let is_snapshot = *plan == SyncPlan::Snap;
        let (max, key) = match is_snapshot {
            true => (options.snap_syncs_max, "leader.maxConcurrentSnapSyncs"),
            false => (options.diff_syncs_max, "leader.maxConcurrentDiffSyncs"),
        };
        let syncs = self
            .feeds
            .iter()
            .filter(|(link, feed)| feed.begins_with_snapshot == is_snapshot && self.zab.is_synchronizing(**link));
        (syncs.count() as u64 >= u64::from(max)).then(|| format!("{max} others are being synchronized ({key})"))
    }
}

impl Ensemble {
    /// Brings a learner to this server's history.
    pub(super) fn begin_feed(&mut self, newcomer: Newcomer, now: Now) {
        let link = newcomer.link;
        let Some(plan) = self.sync_plan(newcomer.last_zxid, None) else { return };
        match self.look_for(newcomer, plan) {
            Some(look) => {
                if let Role::Leading(leading) = &mut self.role {
                    leading.looks.insert(link, Look { newcomer, look });
                }
            }
            None => self.feed(newcomer, plan, now),
        }
    }

    fn sync_plan(&self, peer: Zxid, on_disk: Option<OnDisk>) -> Option<SyncPlan> {
        let (Role::Leading(leading), Some(seat)) = (&self.role, &self.seat) else { return None };
        if seat.options.force_snapshot_sync {
            return Some(SyncPlan::Snap);
        }
        // What is committed, not what is published: a learner is never told to cut off what a quorum has.
        let zxids = seat.history.zxids_through(leading.progress(&seat.history, self.flushed_through).committed);
        let last = zxids.last().copied().unwrap_or(seat.history.base());
        Some(zab::plan(peer, zab::History { zxids: &zxids, last, on_disk }))
    }

    /// Where memory says that only a snapshot will do, the log may know better.
    fn look_for(&self, newcomer: Newcomer, plan: SyncPlan) -> Option<LogLook> {
        let seat = self.seat.as_ref()?;
        let size_factor = seat.options.snapshot_size_factor.filter(|_| !seat.options.force_snapshot_sync)?;
        let (peer, base) = (newcomer.last_zxid, seat.history.base());
        let may_help = plan == SyncPlan::Snap && peer > Zxid::ZERO && peer < base && base <= self.flushed_through;
        may_help.then(|| LogLook::begin(&seat.log, peer, base, size_factor))
    }

    fn feed(&mut self, newcomer: Newcomer, plan: SyncPlan, now: Now) {
        let (Role::Leading(leading), Some(seat)) = (&self.role, &self.seat) else { return };
        let Newcomer { link, server, last_zxid, observer, .. } = newcomer;
        let progress = leading.progress(&seat.history, self.flushed_through);
        let (Some(epoch), is_established) = (leading.zab.epoch(), leading.zab.is_established()) else { return };
        let ours = progress.committed.min(seat.history.last());
        tracing::info!("server {}: its log ends at {last_zxid}, ours at {ours}: {plan:x?}", server.0);
        if observer && let Some(why) = leading.too_many_syncs(&plan, &seat.options) {
            return self.link_broken(link, &why, now);
        }
        self.metrics.count(if plan == SyncPlan::Snap { Counter::SnapCount } else { Counter::DiffCount });
        let snapshot = (plan == SyncPlan::Snap).then(|| {
            if !is_established {
                // All of the head is history now; nobody is served from it before the epoch is established.
                let version = self.tree.seal();
                self.tree.publish_through(version);
            }
            let seat = self.seat.as_ref().expect("just seen");
            let first = zab::first_of(epoch);
            SnapshotFeed::begin(
                self.tree.hold(),
                newcomer.keeps_through(),
                first,
                &seat.log.writer,
                seat.log.wake.clone(),
            )
        });
        let Some(state) = self.seat().links.get_mut(link) else { return };
        let feed = Feed::begin(server, observer, plan, snapshot, progress, zab::first_of(epoch), &mut state.out);
        if let Role::Leading(leading) = &mut self.role {
            leading.feeds.insert(link, feed);
        }
    }

    /// Takes what looks have found.
    fn end_looks(&mut self, now: Now) {
        let Role::Leading(leading) = &mut self.role else { return };
        let found = leading.looks.values_mut().filter_map(|look| Some((look.newcomer, look.look.take()?)));
        let found: Vec<_> = found.collect();
        for (newcomer, end) in found {
            let Role::Leading(leading) = &mut self.role else { return };
            leading.looks.remove(&newcomer.link);
            let on_disk = end.map(|end| OnDisk { from: end.from, next: end.next });
            if let Some(plan) = self.sync_plan(newcomer.last_zxid, on_disk) {
                self.feed(newcomer, plan, now);
            }
        }
    }

    /// Lets every learner's feed go on.
    pub(super) fn pump_feeds(&mut self, now: Now) {
        self.end_looks(now);
        self.pump_observers();
        let Role::Leading(leading) = &mut self.role else { return };
        let Some(seat) = &mut self.seat else { return };
        let progress = leading.progress(&seat.history, self.flushed_through);
        let words = Words {
            // While one is pending, whoever is told of it would take it for committed.
            config: (!leading.zab.is_reconfiguring()).then(|| seat.configs.newest_text().clone()),
            activations: &leading.activations,
        };
        let mut lost = Vec::new();
        for (id, feed) in &mut leading.feeds {
            let Some(link) = seat.links.get_mut(*id) else { continue };
            if let Err(why) = Feed::pump(feed, &seat.history, progress, &seat.log, &words, &mut link.out) {
                lost.push((*id, why));
            }
        }
        seat.history.sent_to_all(leading.feeds.values().map(Feed::sent).min());
        for (id, why) in lost {
            self.link_broken(id, &why, now);
        }
    }
}
