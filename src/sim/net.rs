//! Connections between servers, and between clients and servers, as TCP keeps them: bytes in order on each, no order across
//! them, cut anywhere. Who is connected to whom is here; what the bytes mean is their owners' business.
//!
//! A partition holds bytes back, in one direction or both, as long as it lasts: what was sent comes late or, when somebody has
//! closed the connection meanwhile, not at all. A machine that loses its power says nothing; whoever writes to it after it is
//! up again hears that the connection is gone.

use super::agenda::{Agenda, Event};
use super::random::Random;
use crate::types::{ConnId, LinkId};
use std::collections::VecDeque;

/// Bytes under way in one direction before the sender has to wait.
const WINDOW_BYTES: usize = 64 << 10;
const READ_BYTES_MAX: usize = 64 << 10;

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    pub stream: StreamId,
    pub side: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DialId(pub u64);

/// Whose end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Link { server: usize, link: LinkId },
    Conn { server: usize, worker: usize, conn: ConnId },
    Client { client: usize },
}

/// What came at an end.
#[derive(Debug)]
pub enum Came {
    Bytes(Vec<u8>),
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    Closed,
    /// Its machine lost power.
    Gone,
}

struct End {
    /// Machine: servers first, then clients.
    node: usize,
    owner: Owner,
    life: Life,
}

/// Bytes on their way to one end.
struct Pipe {
    chunks: VecDeque<(u64, Vec<u8>)>,
    bytes: usize,
    last_at: u64,
    fin_at: Option<u64>,
    /// The end comes whether its owner reads or not.
    is_reset: bool,
    /// It comes through a partition as well.
    is_severed: bool,
    is_read: bool,
    /// The sender is to be told when there is room.
    sender_waits: bool,
}

struct Stream {
    ends: [End; 2],
    pipes: [Pipe; 2],
    /// Somebody wrote to a machine without power.
    touched: bool,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    pub least_us: u64,
    pub spread_us: u64,
    /// One packet of so many takes much longer.
    pub slow_one_in: u64,
}

pub struct Net {
    random: Random,
    delays: Delays,
    streams: Streams,
    /// `blocked[from][to]`
    blocked: Vec<Vec<bool>>,
    is_powered: Vec<bool>,
    pub bytes_sent: u64,
    pub resets: u64,
}

impl Net {
    pub fn new(random: Random, delays: Delays, nodes: usize) -> Net {
        Net {
            random,
            delays,
            streams: Streams::default(),
            blocked: vec![vec![false; nodes]; nodes],
            is_powered: vec![true; nodes],
            bytes_sent: 0,
            resets: 0,
        }
    }

    pub fn delay(&mut self) -> u64 {
        let usual = self.delays.least_us + self.random.below(self.delays.spread_us);
        match self.random.chance(1, self.delays.slow_one_in) {
            true => usual * (2 + self.random.below(40)),
            false => usual,
        }
    }

    pub fn connect(&mut self, a: (usize, Owner), b: (usize, Owner)) -> StreamId {
        let end = |(node, owner)| End { node, owner, life: Life::Open };
        let stream = Stream { ends: [end(a), end(b)], pipes: [Pipe::new(), Pipe::new()], touched: false };
        self.streams.add(stream)
    }

    pub fn owner(&self, socket: Socket) -> Option<Owner> {
        let end = &self.streams.get(socket.stream)?.ends[socket.side];
        (end.life == Life::Open).then_some(end.owner)
    }

    /// The machine of an end that is open.
    pub fn node(&self, socket: Socket) -> Option<usize> {
        let end = &self.streams.get(socket.stream)?.ends[socket.side];
        (end.life == Life::Open).then_some(end.node)
    }

    /// True: it is on its way already, and nothing more will be said of it.
    pub fn send(&mut self, agenda: &mut Agenda, socket: Socket, bytes: Vec<u8>) -> bool {
        let delay = self.delay();
        let Some(stream) = self.streams.get_mut(socket.stream) else { return false };
        let peer = 1 - socket.side;
        match stream.ends[peer].life {
            Life::Open => {}
            Life::Gone if !self.is_powered[stream.ends[peer].node] => {
                stream.touched = true;
                return false;
            }
            Life::Gone | Life::Closed => {
                self.reset(agenda, socket, delay);
                return false;
            }
        }
        self.bytes_sent += bytes.len() as u64;
        let pipe = &mut stream.pipes[peer];
        if pipe.is_reset {
            // Broken behind what was kept of the bytes before: nothing follows them, and whoever sends hears of it.
            self.reset(agenda, socket, delay);
            return false;
        }
        pipe.last_at = pipe.last_at.max(agenda.now() + delay);
        pipe.bytes += bytes.len();
        pipe.chunks.push_back((pipe.last_at, bytes));
        if pipe.is_read {
            agenda.at(pipe.last_at, Event::Arrive { socket: Socket { side: peer, ..socket } });
        }
        let has_room = pipe.bytes <= WINDOW_BYTES;
        match stream.ends[socket.side].owner {
            // Clients do not wait for what they have sent.
            Owner::Client { .. } => return true,
            // Mostly the kernel takes it at once.
            Owner::Link { .. } if has_room && !delay.is_multiple_of(8) => return true,
            _ if has_room => agenda.after(1 + delay % 16, Event::Sent { socket }),
            _ => pipe.sender_waits = true,
        }
        false
    }

    /// Its owner takes more bytes.
    pub fn read_on(&mut self, agenda: &mut Agenda, socket: Socket) {
        let Some(stream) = self.streams.get_mut(socket.stream) else { return };
        let pipe = &mut stream.pipes[socket.side];
        pipe.is_read = true;
        if let Some(at) = pipe.next_at() {
            agenda.at(at, Event::Arrive { socket });
        }
    }

    /// What has come at an end by now, if its owner wants to know.
    pub fn arrive(&mut self, agenda: &mut Agenda, socket: Socket) -> Option<Came> {
        let stream = self.streams.get_mut(socket.stream)?;
        let peer = 1 - socket.side;
        let is_held = self.blocked[stream.ends[peer].node][stream.ends[socket.side].node];
        if stream.ends[socket.side].life != Life::Open || is_held && !stream.pipes[socket.side].is_severed {
            return None;
        }
        let pipe = &mut stream.pipes[socket.side];
        if pipe.is_read && pipe.chunks.front().is_some_and(|(at, _)| *at <= agenda.now()) {
            let bytes_max = if self.random.chance(1, 6) { 1 + self.random.below(200) as usize } else { READ_BYTES_MAX };
            let bytes = pipe.take(agenda.now(), bytes_max);
            pipe.is_read = false;
            if pipe.bytes <= WINDOW_BYTES && std::mem::take(&mut pipe.sender_waits) {
                agenda.after(1, Event::Sent { socket: Socket { side: peer, ..socket } });
            }
            return Some(Came::Bytes(bytes));
        }
        let has_ended = pipe.fin_at.is_some_and(|at| at <= agenda.now());
        let is_noticed = if pipe.is_read { pipe.chunks.is_empty() } else { pipe.is_reset };
        if has_ended && is_noticed {
            stream.ends[socket.side].life = Life::Closed;
            self.forget_if_over(socket.stream);
            return Some(Came::Closed);
        }
        None
    }

    /// Its owner is done with it.
    pub fn close(&mut self, agenda: &mut Agenda, socket: Socket) {
        let delay = self.delay();
        let Some(stream) = self.streams.get_mut(socket.stream) else { return };
        stream.ends[socket.side].life = Life::Closed;
        stream.pipes[socket.side].clear();
        let peer = 1 - socket.side;
        let pipe = &mut stream.pipes[peer];
        let at = pipe.last_at.max(agenda.now() + delay);
        pipe.fin_at = Some(at);
        agenda.at(at, Event::Arrive { socket: Socket { side: peer, ..socket } });
        self.forget_if_over(socket.stream);
    }

    /// This end hears that the connection is gone; what it has not read by then may be lost.
    fn reset(&mut self, agenda: &mut Agenda, socket: Socket, delay: u64) {
        let Some(stream) = self.streams.get_mut(socket.stream) else { return };
        let pipe = &mut stream.pipes[socket.side];
        let at = agenda.now() + delay;
        pipe.is_reset = true;
        pipe.fin_at = Some(at);
        pipe.cut(&mut self.random, at);
        self.resets += 1;
        agenda.at(at, Event::Arrive { socket });
    }

    /// A connection breaks, for both sides, with whatever was under way.
    pub fn cut(&mut self, agenda: &mut Agenda) {
        let open: Vec<StreamId> = self.streams.iter().map(|(stream, _)| stream).collect();
        let Some(stream) = self.random.pick(&open).copied() else { return };
        self.cut_stream(agenda, stream);
    }

    /// The ends of all connections to `node` at the machines `at` are gone; `node` does not hear of it.
    pub fn sever(&mut self, agenda: &mut Agenda, node: usize, at: &[usize]) {
        let mut ends = Vec::new();
        for (stream, state) in self.streams.iter() {
            let theirs =
                (0..2).filter(|side| at.contains(&state.ends[*side].node) && state.ends[1 - side].node == node);
            ends.extend(theirs.map(|side| Socket { stream, side }));
        }
        for socket in ends {
            let delay = self.delay();
            self.reset(agenda, socket, delay);
            if let Some(stream) = self.streams.get_mut(socket.stream) {
                stream.pipes[socket.side].is_severed = true;
            }
        }
    }

    /// One connection breaks, for both sides.
    pub fn cut_stream(&mut self, agenda: &mut Agenda, stream: StreamId) {
        for side in 0..2 {
            let delay = self.delay();
            self.reset(agenda, Socket { stream, side }, delay);
        }
    }

    /// The process on a machine is gone; its kernel closes what it had open.
    pub fn process_ended(&mut self, agenda: &mut Agenda, node: usize) {
        for socket in self.sockets_of(node) {
            self.close(agenda, socket);
        }
    }

    pub fn power_lost(&mut self, node: usize) {
        self.is_powered[node] = false;
        for Socket { stream, side } in self.sockets_of(node) {
            let state = self.streams.get_mut(stream).expect("just listed");
            state.ends[side].life = Life::Gone;
            state.touched |= !state.pipes[side].chunks.is_empty();
            state.pipes[side].clear();
            self.forget_if_over(stream);
        }
    }

    pub fn power_back(&mut self, agenda: &mut Agenda, node: usize) {
        self.is_powered[node] = true;
        let mut orphans = Vec::new();
        for (stream, state) in self.streams.iter() {
            for side in 0..2 {
                if state.ends[side].life == Life::Gone && state.ends[side].node == node && state.touched {
                    orphans.push(Socket { stream, side: 1 - side });
                }
            }
        }
        for socket in orphans {
            let delay = self.delay();
            self.reset(agenda, socket, delay);
        }
    }

    pub fn is_powered(&self, node: usize) -> bool {
        self.is_powered[node]
    }

    pub fn block(&mut self, from: usize, to: usize) {
        self.blocked[from][to] = true;
    }

    /// Bytes pass in both directions.
    pub fn is_reachable(&self, a: usize, b: usize) -> bool {
        !self.blocked[a][b] && !self.blocked[b][a]
    }

    /// All partitions end, and what was held back comes.
    pub fn join(&mut self, agenda: &mut Agenda) {
        self.blocked.iter_mut().flatten().for_each(|blocked| *blocked = false);
        let mut late = Vec::new();
        for (stream, state) in self.streams.iter() {
            late.extend((0..2).filter(|side| state.pipes[*side].next_at().is_some()).map(|side| (stream, side)));
        }
        for (stream, side) in late {
            let delay = self.delay();
            agenda.after(delay, Event::Arrive { socket: Socket { stream, side } });
        }
    }

    fn sockets_of(&self, node: usize) -> Vec<Socket> {
        let mut found = Vec::new();
        for (stream, state) in self.streams.iter() {
            for (side, end) in state.ends.iter().enumerate() {
                if end.node == node && end.life == Life::Open {
                    found.push(Socket { stream, side });
                }
            }
        }
        found
    }

    fn forget_if_over(&mut self, stream: StreamId) {
        if self.streams.get(stream).is_some_and(|state| state.ends.iter().all(|end| end.life != Life::Open)) {
            self.streams.remove(stream);
        }
    }
}

/// By number; those that are over leave a gap.
#[derive(Default)]
struct Streams {
    slots: Vec<Option<Box<Stream>>>,
}

impl Streams {
    fn add(&mut self, stream: Stream) -> StreamId {
        self.slots.push(Some(Box::new(stream)));
        StreamId(self.slots.len() as u64 - 1)
    }

    fn get(&self, id: StreamId) -> Option<&Stream> {
        self.slots.get(id.0 as usize)?.as_deref()
    }

    fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.slots.get_mut(id.0 as usize)?.as_deref_mut()
    }

    fn remove(&mut self, id: StreamId) {
        self.slots[id.0 as usize] = None;
    }

    /// In the order of their making.
    fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        (0..).zip(&self.slots).filter_map(|(id, stream)| Some((StreamId(id), stream.as_deref()?)))
    }
}

impl Pipe {
    fn new() -> Pipe {
        Pipe {
            chunks: VecDeque::new(),
            bytes: 0,
            last_at: 0,
            fin_at: None,
            is_reset: false,
            is_severed: false,
            is_read: true,
            sender_waits: false,
        }
    }

    fn next_at(&self) -> Option<u64> {
        self.chunks.front().map(|(at, _)| *at).or(self.fin_at)
    }

    fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }

    fn take(&mut self, now: u64, bytes_max: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while taken.len() < bytes_max
            && let Some((at, chunk)) = self.chunks.front_mut().filter(|(at, _)| *at <= now)
        {
            let room = bytes_max - taken.len();
            if chunk.len() <= room {
                taken.append(chunk);
                self.chunks.pop_front();
            } else {
                let rest = chunk.split_off(room);
                taken.append(chunk);
                (*chunk, *at) = (rest, *at);
            }
        }
        self.bytes -= taken.len();
        taken
    }

    /// Keeps a beginning of what is under way.
    fn cut(&mut self, random: &mut Random, at: u64) {
        let kept = random.below(self.bytes as u64 + 1) as usize;
        let mut left = kept;
        for (chunk_at, chunk) in &mut self.chunks {
            *chunk_at = at.min(*chunk_at);
            chunk.truncate(left);
            left -= chunk.len();
        }
        self.chunks.retain(|(_, chunk)| !chunk.is_empty());
        self.bytes = kept;
    }
}
