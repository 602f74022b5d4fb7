//! What reads will look at is asked for before the first of them is answered (`tree/prefetch.rs`), where several came together:
//! of one client in one piece, of many clients in one turn, or behind a write that is answered.

use super::connection::Waiting;
use crate::runtime::sockets::SocketEvent;
use crate::tree::View;
use crate::wire::client::path_of_read;
use crate::wire::frame::{Frame, next_frame};
use std::collections::VecDeque;

/// Fewer are not worth a second look.
const READS_MIN: usize = 4;
/// Shorter pieces hold no more than a few short reads.
const PIECE_BYTES_MIN: usize = 24 * READS_MIN;

/// Looks at the frames at the start of `bytes`; says how many of them need no further look.
pub(super) fn of_frames(bytes: &[u8], payload_bytes_max: usize, view: View<'_>) -> usize {
    if bytes.len() < PIECE_BYTES_MIN {
        return 1;
    }
    let mut reads = Reads::default();
    let (mut frames, mut at) = (0, 0);
    while frames < View::PREFETCHED_AT_ONCE
        && let Ok(Frame::Whole(payload)) = next_frame(&bytes[at..], payload_bytes_max)
    {
        let end = payload.end;
        reads.add(&bytes[at..][payload]);
        (frames, at) = (frames + 1, at + end);
    }
    reads.fetch(view);
    frames.max(1)
}

/// Looks at the first frames of short pieces; says how many of the events need no further look.
pub(super) fn of_events(events: &[SocketEvent], payload_bytes_max: usize, view: View<'_>) -> usize {
    let events = &events[..events.len().min(View::PREFETCHED_AT_ONCE)];
    if events.len() < READS_MIN {
        return events.len();
    }
    let mut reads = Reads::default();
    for event in events {
        // What is no read, or not a frame's beginning, leads to no znode or to one that nobody asked for: no harm is done.
        if let SocketEvent::Received { bytes, .. } = event
            && bytes.len() < PIECE_BYTES_MIN
            && let Ok(Frame::Whole(payload)) = next_frame(bytes, payload_bytes_max)
        {
            reads.add(&bytes[payload]);
        }
    }
    reads.fetch(view);
    events.len()
}

/// Looks at what has waited.
pub(super) fn of_waiting(waiting: &VecDeque<Waiting>, view: View<'_>) {
    if waiting.len() < READS_MIN {
        return;
    }
    let mut reads = Reads::default();
    for waiting in waiting.iter().take(View::PREFETCHED_AT_ONCE) {
        if let Waiting::Request(request) = waiting {
            reads.add(&request.payload);
        }
    }
    reads.fetch(view);
}

#[derive(Default)]
struct Reads<'b> {
    paths: [&'b [u8]; View::PREFETCHED_AT_ONCE],
    count: usize,
}

impl<'b> Reads<'b> {
    fn add(&mut self, payload: &'b [u8]) {
        if let Some(path) = path_of_read(payload) {
            self.paths[self.count] = path;
            self.count += 1;
        }
    }

    fn fetch(&self, view: View<'_>) {
        if self.count >= READS_MIN {
            view.prefetch(self.paths[..self.count].iter().copied());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreeWriter;
    use crate::types::{ConnId, OwnerRules};
    use crate::wire::Writer;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    fn read(op: i32, path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        Writer::frame(&mut bytes, |w| {
            w.int(1);
            w.int(op);
            w.string(path);
            w.bool(false);
        });
        bytes
    }

    /// Nothing can be seen of it but how far it has looked, whatever the bytes are.
    #[test]
    fn any_bytes_may_be_looked_at() {
        let tree = TreeWriter::fresh(OwnerRules::default(), true, 7);
        let view = tree.view();
        let frames: Vec<u8> = (0..40).flat_map(|n| read(4, &format!("/zookeeper/{n}"))).collect();
        assert_eq!(of_frames(&frames, 1000, view), View::PREFETCHED_AT_ONCE);
        assert_eq!(of_frames(&frames, 10, view), 1, "longer than any may be");
        assert_eq!(of_frames(&frames[..5 * read(4, "/zookeeper/1").len() - 1], 1000, view), 4);
        assert_eq!(of_frames(&read(4, "/zookeeper"), 1000, view), 1);
        let event = |bytes: &[u8]| SocketEvent::Received { conn: ConnId(0), bytes: bytes.to_vec() };
        let mut events: Vec<SocketEvent> = (0..20).map(|_| event(&read(8, "/zookeeper/quota"))).collect();
        events.insert(3, SocketEvent::Closed { conn: ConnId(1) });
        assert_eq!(of_events(&events, 1000, view), View::PREFETCHED_AT_ONCE);
        assert_eq!(of_events(&events[19..], 1000, view), 2);
        assert_eq!(of_events(&[], 1000, view), 0);
        let mut random = SmallRng::seed_from_u64(1);
        for _ in 0..2000 {
            let mut bytes = frames.clone();
            for _ in 0..random.random_range(1..30) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
            assert!(of_frames(&bytes[random.random_range(0..bytes.len())..], 1000, view) > 0);
            let events: Vec<SocketEvent> = bytes.chunks(random.random_range(1..90)).map(event).collect();
            of_events(&events, 1000, view);
        }
    }
}
