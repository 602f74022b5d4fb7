//! The rules of election connections, one by one and in a small network of many seeds.

use super::*;
use crate::message::Vote;
use crate::types::{ServerState, Zxid};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;

fn say(round: i64) -> Notification {
    let vote = Vote { leader: ServerId(1), zxid: Zxid(0), round, peer_epoch: 0 };
    Notification { state: ServerState::Looking, vote, version: 2, config: None }
}

struct Bench {
    connections: Connections,
    now: Instant,
}

impl Bench {
    fn new(id: i64) -> Bench {
        let members = (1..=3).map(ServerId).collect();
        let connections = Connections::new(ServerId(id), ConnectionRules::default(), members);
        Bench { connections, now: Instant::from_millis(1_000) }
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.connections.step(self.now, input, &mut out);
        out
    }

    fn hello(&mut self, link: u64, sid: i64) -> Vec<Output> {
        assert!(self.step(Input::Accepted { link: LinkId(link) }).is_empty());
        let endpoints = vec![Endpoint { host: "h".to_owned(), port: 7 }];
        self.step(Input::Hello { link: LinkId(link), sid: ServerId(sid), endpoints })
    }

    fn send(&mut self, to: i64, round: i64) -> Vec<Output> {
        self.step(Input::SendTo { to: ServerId(to), notification: say(round) })
    }
}

fn gives(link: u64, round: i64) -> Output {
    Output::Send { link: LinkId(link), notification: say(round) }
}

fn dials(to: i64) -> Output {
    Output::Dial { to: ServerId(to), endpoints: Vec::new() }
}

#[test]
fn the_larger_id_keeps_what_it_opened() {
    let mut two = Bench::new(2);
    assert_eq!(two.send(1, 1), [dials(1)]);
    let out = two.step(Input::Opened { link: LinkId(5), to: ServerId(1) });
    let connected = Output::PeerConnected { peer: ServerId(1), link: LinkId(5) };
    assert_eq!(out, [Output::SendHello { link: LinkId(5) }, connected, gives(5, 1)]);
    assert_eq!(two.connections.peer_of(LinkId(5)), Some(ServerId(1)));
}

#[test]
fn the_smaller_id_asks_to_be_called_back() {
    let mut two = Bench::new(2);
    assert_eq!(two.send(3, 1), [dials(3)]);
    let out = two.step(Input::Opened { link: LinkId(5), to: ServerId(3) });
    assert_eq!(out, [Output::SendHello { link: LinkId(5) }, Output::Close { link: LinkId(5) }]);
    let out = two.hello(6, 3);
    assert_eq!(out, [Output::PeerConnected { peer: ServerId(3), link: LinkId(6) }, gives(6, 1)]);
    // Not called back: asks again.
    let mut two = Bench::new(2);
    two.send(3, 1);
    two.step(Input::Opened { link: LinkId(5), to: ServerId(3) });
    two.now = two.connections.next_deadline().unwrap();
    assert_eq!(two.step(Input::Tick), [dials(3)]);
}

#[test]
fn a_smaller_id_is_called_back_where_it_says_it_listens() {
    let mut two = Bench::new(2);
    two.send(1, 1);
    two.step(Input::Opened { link: LinkId(5), to: ServerId(1) });
    let out = two.hello(6, 1);
    let endpoints = vec![Endpoint { host: "h".to_owned(), port: 7 }];
    assert_eq!(
        out,
        [
            Output::Close { link: LinkId(6) },
            Output::Close { link: LinkId(5) },
            Output::PeerLost { peer: ServerId(1) },
            Output::Dial { to: ServerId(1), endpoints: endpoints.clone() },
        ]
    );
    // Even if nobody configured it, but not any number of such.
    assert!(two.hello(7, 0).contains(&Output::Dial { to: ServerId(0), endpoints }));
    for sid in 1..200 {
        two.hello(100 + sid as u64, -sid);
    }
    assert_eq!(two.connections.peers.len(), 64 + 1);
}

#[test]
fn a_newer_connection_replaces_the_older_and_says_the_last_word_again() {
    let mut two = Bench::new(2);
    two.hello(5, 3);
    assert_eq!(two.send(3, 1), [gives(5, 1)]);
    let out = two.hello(6, 3);
    assert_eq!(
        out,
        [
            Output::Close { link: LinkId(5) },
            Output::PeerLost { peer: ServerId(3) },
            Output::PeerConnected { peer: ServerId(3), link: LinkId(6) },
            gives(6, 1),
        ]
    );
    assert!(two.step(Input::Closed { link: LinkId(5) }).is_empty(), "the old one is nobody's");
}

#[test]
fn one_message_waits_and_the_newest_wins() {
    let mut two = Bench::new(2);
    two.hello(5, 3);
    assert_eq!(two.send(3, 1), [gives(5, 1)]);
    assert!(two.send(3, 2).is_empty());
    assert!(two.send(3, 3).is_empty());
    assert_eq!(two.step(Input::Sent { link: LinkId(5) }), [gives(5, 3)]);
    assert!(two.step(Input::Sent { link: LinkId(5) }).is_empty());
}

#[test]
fn own_id_anonymous_observers_and_silence() {
    let mut two = Bench::new(2);
    assert_eq!(two.hello(5, 2), [Output::OwnIdSeen { link: LinkId(5) }]);
    for (link, given) in [(6, -1), (7, -2)] {
        let out = two.hello(link, i64::MAX);
        assert_eq!(out, [Output::PeerConnected { peer: ServerId(given), link: LinkId(link) }]);
    }
    two.step(Input::Accepted { link: LinkId(8) });
    two.now = two.now.plus_millis(5_000);
    assert_eq!(two.step(Input::Tick), [Output::Close { link: LinkId(8) }]);
    // Too late to introduce itself.
    assert!(two.step(Input::Hello { link: LinkId(8), sid: ServerId(3), endpoints: Vec::new() }).is_empty());
}

#[test]
fn dials_are_repeated_at_growing_distances_while_something_waits() {
    let mut two = Bench::new(2);
    assert_eq!(two.send(1, 1), [dials(1)]);
    let mut distances = Vec::new();
    for _ in 0..9 {
        two.step(Input::DialFailed { to: ServerId(1) });
        let next = two.connections.next_deadline().unwrap();
        distances.push(next.micros_since(two.now) / 1000);
        assert!(two.send(1, 2).is_empty(), "no faster for having more to say");
        two.now = next;
        assert_eq!(two.step(Input::Tick), [dials(1)]);
    }
    assert_eq!(distances, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    // A dial that hangs is given up, and its late success is not used.
    two.now = two.connections.next_deadline().unwrap();
    two.step(Input::Tick);
    let out = two.step(Input::Opened { link: LinkId(9), to: ServerId(1) });
    assert_eq!(out, [Output::Close { link: LinkId(9) }]);
}

/// Two or three servers; links that open and break; at the end every pair shares one link and the last word arrived.
#[test]
fn a_network_of_them_settles_on_one_link_a_pair() {
    (0..300).for_each(settle);
}

#[derive(Clone)]
enum Travel {
    Open { from: i64, to: i64 },
    Hello { link: LinkId },
    Message { link: LinkId, to: i64, round: i64 },
    Gone { link: LinkId, at: i64 },
}

struct Net {
    servers: BTreeMap<i64, Connections>,
    /// Opener, acceptor, open.
    links: BTreeMap<LinkId, (i64, i64, bool)>,
    /// In order for each direction of a link; one queue keeps it for all.
    travelling: VecDeque<(u64, Travel)>,
    heard: BTreeMap<(i64, i64), i64>,
    now: u64,
}

fn settle(seed: u64) {
    let mut dice = SmallRng::seed_from_u64(seed);
    let ids: Vec<i64> = (1..=3).collect();
    let members: BTreeSet<ServerId> = ids.iter().map(|id| ServerId(*id)).collect();
    let connections = |id: &i64| (*id, Connections::new(ServerId(*id), ConnectionRules::default(), members.clone()));
    let mut net = Net {
        servers: ids.iter().map(connections).collect(),
        links: BTreeMap::new(),
        travelling: VecDeque::new(),
        heard: BTreeMap::new(),
        now: 0,
    };
    let mut last = BTreeMap::new();
    for round in 0..dice.random_range(3..30) {
        let (from, to) = (dice.random_range(1..=3), dice.random_range(1..=3));
        if from != to {
            last.insert((from, to), round);
            net.input(from, Input::SendTo { to: ServerId(to), notification: say(round) });
        }
        if dice.random_bool(0.3) {
            let open: Vec<LinkId> = net.links.iter().filter(|(_, link)| link.2).map(|(id, _)| *id).collect();
            if let Some(link) = open.get(dice.random_range(0..open.len().max(1))) {
                net.close(*link, None);
            }
        }
        net.run(dice.random_range(0..60_000));
    }
    net.run(20_000_000);
    // A word may have been lost with its connection; the next one finds its way.
    for ((from, to), round) in &last {
        net.input(*from, Input::SendTo { to: ServerId(*to), notification: say(round + 100) });
    }
    net.run(20_000_000);
    for ((from, to), round) in last {
        assert_eq!(net.heard.get(&(from, to)), Some(&(round + 100)), "seed {seed}: {from} to {to}");
        let links = [(from, to), (to, from)].map(|(at, peer)| net.servers[&at].link_of(ServerId(peer)));
        assert!(links[0].is_some() && links[0] == links[1], "seed {seed}: {links:?}");
        assert_eq!(net.links[&links[0].unwrap()].0, from.max(to), "seed {seed}: the larger id opened it");
    }
}

impl Net {
    fn travel(&mut self, what: Travel) {
        self.travelling.push_back((self.now + 500, what));
    }

    fn input(&mut self, at: i64, input: Input) {
        let mut out = Vec::new();
        self.servers.get_mut(&at).unwrap().step(Instant { micros: self.now }, input, &mut out);
        for output in out {
            match output {
                Output::Dial { to, .. } => self.travel(Travel::Open { from: at, to: to.0 }),
                Output::SendHello { link } => self.travel(Travel::Hello { link }),
                Output::Send { link, notification } => {
                    let (a, b, open) = self.links[&link];
                    assert!(open || a == at || b == at);
                    let to = if a == at { b } else { a };
                    self.travel(Travel::Message { link, to, round: notification.vote.round });
                    self.input(at, Input::Sent { link });
                }
                Output::Close { link } => self.close(link, Some(at)),
                Output::OwnIdSeen { .. } => panic!("ids are different"),
                Output::PeerConnected { .. } | Output::PeerLost { .. } => {}
            }
        }
    }

    /// By one end, or by the network; what travels before it arrives.
    fn close(&mut self, link: LinkId, by: Option<i64>) {
        let (a, b, open) = self.links[&link];
        if open {
            self.links.insert(link, (a, b, false));
            for at in [a, b].into_iter().filter(|at| Some(*at) != by) {
                self.travel(Travel::Gone { link, at });
            }
        }
    }

    fn run(&mut self, micros: u64) {
        let until = self.now + micros;
        loop {
            let timer = |(id, one): (&i64, &Connections)| one.next_deadline().map(|at| (at.micros.max(self.now), *id));
            let timer = self.servers.iter().filter_map(timer).min();
            let arrival = self.travelling.front().map(|(at, _)| *at);
            match (timer, arrival) {
                (_, Some(at)) if at <= until && timer.is_none_or(|(timer, _)| at <= timer) => {
                    self.now = at;
                    let (_, what) = self.travelling.pop_front().unwrap();
                    self.arrive(what);
                }
                (Some((at, id)), _) if at <= until => {
                    self.now = at;
                    self.input(id, Input::Tick);
                }
                _ => break,
            }
        }
        self.now = until;
    }

    fn arrive(&mut self, what: Travel) {
        match what {
            Travel::Open { from, to } => {
                let link = LinkId(self.links.len() as u64);
                self.links.insert(link, (from, to, true));
                self.input(to, Input::Accepted { link });
                self.input(from, Input::Opened { link, to: ServerId(to) });
            }
            Travel::Hello { link } => {
                let (from, to, _) = self.links[&link];
                self.input(to, Input::Hello { link, sid: ServerId(from), endpoints: Vec::new() });
            }
            Travel::Message { link, to, round } => {
                let (a, b, open) = self.links[&link];
                let from = if a == to { b } else { a };
                if open && self.servers[&to].peer_of(link) == Some(ServerId(from)) {
                    self.heard.insert((from, to), round);
                }
            }
            Travel::Gone { link, at } => self.input(at, Input::Closed { link }),
        }
    }
}
