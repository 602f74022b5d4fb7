//! The loops of a core take link events to the ensemble and its actions to the sockets, with nothing else to wake them.

use super::alarm::Alarm;
use super::client_port::PortSlot;
use super::core::{EnsembleCore, EnsembleTurn, FlushRequest, SocketAction, WorkerCore, WorkerTurn, run_both};
use super::link_io::{LinkAction, LinkEvent, LinkOptions};
use super::sockets::SocketEvent;
use super::stall::Pulse;
use crate::types::{Instant, LinkId, Now};
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const LINK: LinkId = LinkId(2);
const LOST_DIALS: u64 = 3;

/// Dials a port that refuses a few times, then the right one, and sends back what comes. Never asks to be woken.
struct Echo {
    refusing: u16,
    answering: u16,
    dials: u64,
}

impl Echo {
    fn dial(&mut self, actions: &mut Vec<LinkAction>) {
        self.dials += 1;
        let port = if self.dials <= LOST_DIALS { self.refusing } else { self.answering };
        let link = LinkId(LINK.0 * self.dials);
        actions.push(LinkAction::Dial { link, host: "127.0.0.1".to_owned(), port, timeout_ms: 5000 });
    }
}

impl EnsembleTurn for Echo {
    fn turn(
        &mut self,
        _: Now,
        _: Option<io::Result<()>>,
        links: &mut Vec<LinkEvent>,
        actions: &mut Vec<LinkAction>,
    ) -> Option<FlushRequest> {
        if self.dials == 0 {
            self.dial(actions);
        }
        for event in links.drain(..) {
            match event {
                LinkEvent::Received { link, bytes } => actions.push(LinkAction::Send { link, bytes }),
                LinkEvent::Sent { link, buffer } => actions.push(LinkAction::ReadOn { link, buffer }),
                LinkEvent::Closed { .. } => self.dial(actions),
                _ => {}
            }
        }
        None
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn has_work(&self) -> bool {
        false
    }

    fn alarm(&self) -> Option<&Arc<Alarm>> {
        None
    }
}

#[derive(Default)]
struct Idle(Alarm);

impl WorkerTurn for Idle {
    fn turn(&mut self, _: Now, _: &mut Vec<SocketEvent>, _: &mut Vec<SocketAction>) -> Option<Instant> {
        None
    }

    fn has_work(&self) -> bool {
        false
    }

    fn alarm(&self) -> &Alarm {
        &self.0
    }
}

/// Runs a core until the peer of its ensemble has seen its words come back.
fn echo_over<F: Future<Output = ()>>(run: impl FnOnce(EnsembleCore<Echo>) -> F) {
    let [refusing, listener] = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    let [refusing_port, answering] = [&refusing, &listener].map(|it| it.local_addr().expect("bound").port());
    drop(refusing);
    let echo = Echo { refusing: refusing_port, answering, dials: 0 };
    let (done, peer_done) = oneshot::channel();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("dialled");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        for word in [b"one", b"two", b"six"] {
            stream.write_all(word).expect("connected");
            let mut back = [0; 3];
            stream.read_exact(&mut back).expect("an echo");
            assert_eq!(&back, word);
        }
        done.send(()).expect("waited for");
    });
    tokio_uring::start(async {
        let core = run(EnsembleCore::new(echo, LinkOptions::default()));
        let run = async {
            tokio::select! {
                () = core => unreachable!("a core runs forever"),
                done = peer_done => done.expect("the peer saw its echo"),
            }
        };
        timeout(PATIENCE, run).await.expect("the echo comes");
    });
    peer.join().expect("no panic");
}

#[test]
fn the_ensembles_own_thread_serves_links() {
    echo_over(|core| core.run(Arc::new(Pulse::default())));
}

#[test]
fn a_thread_that_is_worker_and_ensemble_serves_links() {
    echo_over(|core| {
        run_both(WorkerCore::new(Idle::default(), Vec::new(), PortSlot::default()), core, Arc::new(Pulse::default()))
    });
}
