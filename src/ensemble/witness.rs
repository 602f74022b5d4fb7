//! What an onlooker may see of the ensemble thread: the simulator, which checks that servers agree.

use super::driver::Ensemble;
use crate::types::Zxid;
use std::sync::Arc;

impl Ensemble {
    /// Everything through this zxid is in the flushed log.
    pub fn flushed_through(&self) -> Zxid {
        self.flushed_through
    }

    /// What a leader did that none may do, as this server saw it.
    pub fn breach(&self) -> Option<&str> {
        self.breach.as_deref()
    }

    /// The transactions behind `zxid` that are at hand for learners, committed or not, as they stand in the log. `None`: they
    /// begin later than that.
    pub fn history_after(&self, zxid: Zxid) -> Option<impl Iterator<Item = (Zxid, Arc<[u8]>)> + '_> {
        let history = self.seat.as_ref().map(|seat| &seat.history)?;
        history.reaches_back_to(zxid).then(|| history.after(zxid).map(|entry| (entry.zxid, entry.bytes.into())))
    }
}
