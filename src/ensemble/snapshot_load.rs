//! A snapshot that the leader sends, on its way into the head of the tree. Readers go on with what was published.

use super::tree_sink::TreeLoad;
use crate::request::RequestRules;
use crate::storage::{Progress, SnapshotStreamReader};
use crate::tree::TreeWriter;
use crate::types::Zxid;

pub(crate) struct SnapshotLoad {
    zxid: Zxid,
    reader: SnapshotStreamReader,
    load: TreeLoad,
}

impl SnapshotLoad {
    pub fn begin(zxid: Zxid, rules: &RequestRules, buffer_bytes_max: usize) -> SnapshotLoad {
        SnapshotLoad { zxid, reader: SnapshotStreamReader::new(buffer_bytes_max), load: TreeLoad::new(rules, 0) }
    }

    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Takes in bytes of the stream; how many were its own, and whether it is complete.
    pub fn push(&mut self, bytes: &[u8], tree: &mut TreeWriter) -> Result<(usize, bool), String> {
        let mut sink = self.load.sink(tree);
        match self.reader.push(bytes, &mut sink) {
            Ok(Progress::More) => Ok((bytes.len(), false)),
            Ok(Progress::Done { consumed }) => {
                sink.loaded(self.zxid);
                Ok((consumed, true))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
