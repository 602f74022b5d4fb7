//! Stories of whole runs: against the null server, and against servers that go wrong in each way a user will meet.
//! Every server here is a thread on a port of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Parser;

use crate::args::Args;
use crate::failure::{Failure, exit_code};
use crate::null_server::NullServer;
use crate::output::Files;
use crate::run::{Outcome, run};
use crate::workload::OpKind;

const VALUE_BYTES: usize = 100;
/// A ConnectRequest with its length prefix.
const HANDSHAKE_BYTES: usize = 49;
/// A getData of a key below `/bench`, with its length prefix.
const GET_DATA_BYTES: usize = 33;

fn load(port: u16, line: &str) -> Result<Outcome, Failure> {
    let line = format!("ringkeeper-load --quiet --servers 127.0.0.1:{port} {line}");
    let args = Args::try_parse_from(line.split_ascii_whitespace()).expect("a valid command line");
    args.check()?;
    run(&args, &args.spec()?, &mut Files::default())
}

fn with_null_server(test: impl FnOnce(u16)) {
    let server = NullServer::bind(0, vec![7; VALUE_BYTES]).expect("bind");
    let port = server.port().expect("port");
    let stop = Arc::new(AtomicBool::new(false));
    let serving = thread::spawn({
        let stop = stop.clone();
        move || server.serve(&stop)
    });
    test(port);
    stop.store(true, Ordering::Relaxed);
    serving.join().expect("no panic").expect("no error");
}

/// Serves every connection with `behave` on its own thread, after the handshake bytes have come.
fn with_odd_server(behave: fn(TcpStream), test: impl FnOnce(u16)) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut handshake = [0; HANDSHAKE_BYTES];
                if socket.read_exact(&mut handshake).is_ok() {
                    behave(socket);
                }
            });
        }
    });
    test(port);
}

fn accept_session(socket: &mut TcpStream) {
    let mut response = 37u32.to_be_bytes().to_vec();
    response.extend([0, 0, 0, 0, 0, 0, 0x75, 0x30]); // version 0, 30 s
    response.extend(1u64.to_be_bytes());
    response.extend(16u32.to_be_bytes());
    response.extend([0; 17]);
    socket.write_all(&response).expect("write");
}

fn failure_of(result: Result<Outcome, Failure>) -> Failure {
    match result {
        Ok(_) => panic!("the run should have failed"),
        Err(failure) => failure,
    }
}

#[test]
fn a_counted_run_counts_exactly() {
    with_null_server(|port| {
        for workload in
            ["get", "exists", "list", "set", "create", "delete", "multi", "multi-read", "sync-get", "production"]
        {
            let line = format!(
                "--connections 3 --depth 5 --keys 50 --warmup-seconds 0 --workload {workload} --operations 1234"
            );
            let outcome = load(port, &line).expect("a clean run");
            assert_eq!(outcome.record.total.answered_ok, 1234, "{workload}");
            assert!(outcome.record.total.errors.is_empty() && outcome.failure.is_none());
            let counted: u64 = outcome.record.total.kinds().map(|(_, latencies)| latencies.len()).sum();
            assert_eq!(counted, 1234, "{workload}");
        }
    });
}

#[test]
fn fill_creates_as_many_as_asked() {
    with_null_server(|port| {
        let outcome = load(port, "--connections 4 --fill 10001").expect("a clean run");
        assert_eq!(outcome.record.total.latency_ns(OpKind::Create).map_or(0, |latencies| latencies.len()), 10_001);
    });
}

#[test]
fn a_timed_run_ends_in_time() {
    with_null_server(|port| {
        let line = "--connections 4 --depth 4 --keys 50 --seconds 0.3 --warmup-seconds 0.1 --workload mixed --write-percent 50";
        let started = std::time::Instant::now();
        let outcome = load(port, line).expect("a clean run");
        assert!(outcome.failure.is_none() && outcome.record.total.answered_ok > 0);
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
        for kind in [OpKind::Get, OpKind::Set] {
            assert!(outcome.record.total.latency_ns(kind).is_some(), "{}", kind.name());
        }
    });
}

#[test]
fn an_open_loop_sends_what_was_planned() {
    with_null_server(|port| {
        let line = "--connections 4 --depth 64 --keys 50 --seconds 0.5 --warmup-seconds 0 --rate 8000 --burst 4";
        let outcome = load(port, line).expect("a clean run");
        assert_eq!(outcome.record.total.answered_ok, 4_000, "8000/s for half a second");
    });
}

/// A server that answers nothing for 300 ms: an open loop must charge that to the requests planned meanwhile.
#[test]
fn an_open_loop_charges_a_stall_to_every_delayed_request() {
    fn stall_once(mut socket: TcpStream) {
        accept_session(&mut socket);
        thread::sleep(Duration::from_millis(300));
        let mut request = [0; GET_DATA_BYTES];
        while socket.read_exact(&mut request).is_ok() {
            let mut reply = 16u32.to_be_bytes().to_vec();
            reply.extend_from_slice(&request[4..8]);
            reply.extend([0; 12]);
            if socket.write_all(&reply).is_err() {
                return;
            }
        }
    }
    with_odd_server(stall_once, |port| {
        let line =
            "--connections 1 --depth 1 --no-setup --timeout-seconds 30 --warmup-seconds 0 --seconds 0.6 --rate 100";
        let outcome = load(port, line).expect("a clean run");
        let latency = outcome.record.total.latency_ns(OpKind::Get).expect("answers");
        assert_eq!(latency.len(), 60);
        let slow = latency.count_between(50_000_000, u64::MAX / 2);
        assert!(slow >= 20, "{slow} of 60 requests saw the stall");
    });
}

#[test]
fn nobody_listening_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
    let failure = failure_of(load(port, "--connections 2"));
    assert_eq!(failure.exit_code(), exit_code::UNREACHABLE);
    assert!(failure.to_string().contains("nothing listens there"), "{failure}");
}

#[test]
fn an_http_server_is_not_zookeeper() {
    fn http(mut socket: TcpStream) {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    with_odd_server(http, |port| {
        let failure = failure_of(load(port, "--connections 2"));
        assert_eq!(failure.exit_code(), exit_code::NOT_ZOOKEEPER);
        assert!(failure.to_string().contains("HTTP"), "{failure}");
    });
}

#[test]
fn a_silent_server_is_given_up() {
    fn hold(socket: TcpStream) {
        thread::sleep(Duration::from_secs(120));
        drop(socket);
    }
    with_odd_server(hold, |port| {
        let failure = failure_of(load(port, "--connections 1 --timeout-seconds 0.2"));
        assert_eq!(failure.exit_code(), exit_code::NOT_ZOOKEEPER);
        assert!(failure.to_string().contains("did not answer"), "{failure}");
    });
}

#[test]
fn a_close_during_the_handshake_names_the_connection_limit() {
    with_odd_server(drop, |port| {
        let failure = failure_of(load(port, "--connections 1"));
        assert_eq!(failure.exit_code(), exit_code::REFUSED);
        assert!(failure.to_string().contains("maxClientCnxns"), "{failure}");
    });
}

#[test]
fn a_refused_session_is_told_as_such() {
    fn refuse(mut socket: TcpStream) {
        let mut response = 37u32.to_be_bytes().to_vec();
        response.extend([0; 16]);
        response.extend(16u32.to_be_bytes());
        response.extend([0; 17]);
        let _ = socket.write_all(&response);
    }
    with_odd_server(refuse, |port| {
        let failure = failure_of(load(port, "--connections 1"));
        assert_eq!(failure.exit_code(), exit_code::REFUSED);
        assert!(failure.to_string().contains("refused to open a session"), "{failure}");
    });
}

/// Answers 100 requests of a session, then dies: what was measured must not be lost with it.
#[test]
fn a_death_during_the_run_keeps_the_partial_result() {
    fn die_young(mut socket: TcpStream) {
        accept_session(&mut socket);
        let mut request = [0; GET_DATA_BYTES];
        for _ in 0..100 {
            if socket.read_exact(&mut request).is_err() {
                return;
            }
            let mut reply = 16u32.to_be_bytes().to_vec();
            reply.extend_from_slice(&request[4..8]);
            reply.extend([0; 12]);
            if socket.write_all(&reply).is_err() {
                return;
            }
        }
    }
    with_odd_server(die_young, |port| {
        let line = "--connections 2 --depth 2 --no-setup --warmup-seconds 0 --seconds 5";
        let outcome = load(port, line).expect("an outcome");
        let failure = outcome.failure.as_ref().expect("a failure");
        assert_eq!(failure.exit_code(), exit_code::LOST);
        assert!(failure.to_string().contains("all 2 connections are lost"), "{failure}");
        assert!((100..=200).contains(&outcome.record.total.answered_ok), "{}", outcome.record.total.answered_ok);
        assert!(outcome.record.total.lost > 0);
        let line = "--servers x:1 --connections 2";
        let args = Args::parse_from(format!("ringkeeper-load {line}").split(' '));
        assert!(
            outcome
                .summary(&args, &args.spec().expect("a workload"))
                .json()
                .contains("\"failure\":\"all 2 connections")
        );
    });
}

#[test]
fn a_reply_out_of_order_ends_the_run() {
    fn confuse(mut socket: TcpStream) {
        accept_session(&mut socket);
        let mut reply = 16u32.to_be_bytes().to_vec();
        reply.extend(999u32.to_be_bytes());
        reply.extend([0; 12]);
        let _ = socket.write_all(&reply);
        thread::sleep(Duration::from_secs(120));
    }
    with_odd_server(confuse, |port| {
        let outcome = load(port, "--connections 1 --no-setup --warmup-seconds 0 --seconds 5").expect("an outcome");
        let failure = outcome.failure.expect("a failure");
        assert_eq!(failure.exit_code(), exit_code::NOT_ZOOKEEPER);
        assert!(failure.to_string().contains("xid 999"), "{failure}");
    });
}

#[test]
fn a_stalled_server_is_given_up_with_the_partial_result() {
    fn stall(mut socket: TcpStream) {
        accept_session(&mut socket);
        thread::sleep(Duration::from_secs(120));
    }
    with_odd_server(stall, |port| {
        let line = "--connections 1 --no-setup --warmup-seconds 0 --seconds 60 --timeout-seconds 2";
        let failure = load(port, line).expect("an outcome").failure.expect("a failure");
        assert_eq!(failure.exit_code(), exit_code::LOST);
        assert!(failure.to_string().contains("no reply for 2 s"), "{failure}");
    });
}

#[test]
fn errors_are_counted_by_code_and_are_no_successes() {
    fn no_node(mut socket: TcpStream) {
        accept_session(&mut socket);
        let mut request = [0; GET_DATA_BYTES];
        while socket.read_exact(&mut request).is_ok() {
            let mut reply = 16u32.to_be_bytes().to_vec();
            reply.extend_from_slice(&request[4..8]);
            reply.extend([0; 8]);
            reply.extend((-101i32).to_be_bytes());
            if socket.write_all(&reply).is_err() {
                return;
            }
        }
    }
    with_odd_server(no_node, |port| {
        let outcome = load(port, "--connections 1 --no-setup --timeout-seconds 30 --warmup-seconds 0 --operations 40")
            .expect("an outcome");
        assert_eq!(outcome.record.total.errors.get(&-101), Some(&40));
        assert_eq!(outcome.record.total.answered_ok, 0);
    });
}

#[test]
fn sessions_come_and_go_as_often_as_asked() {
    with_null_server(|port| {
        let line = "--workload session-churn --connections 3 --warmup-seconds 0 --operations 20";
        let outcome = load(port, line).expect("a clean run");
        let count = |kind| outcome.record.total.latency_ns(kind).map_or(0, |latencies| latencies.len());
        assert_eq!((count(OpKind::Connect), count(OpKind::Close)), (20, 20));
        assert!(outcome.failure.is_none() && outcome.first_loss.is_none());
    });
}

#[test]
fn a_ramp_in_steps_reports_each_by_itself() {
    with_null_server(|port| {
        let line = "--connections 4 --depth 8 --keys 50 --seconds 1 --warmup-seconds 0 --rate 1000..3000 --steps 2";
        let outcome = load(port, line).expect("a clean run");
        assert_eq!(outcome.record.total.answered_ok, 2_000, "half a second each of 1000/s and 3000/s");
        let planned: Vec<_> = outcome.record.steps.iter().map(|step| step.planned_rate).collect();
        assert_eq!(planned, [Some(1_000.0), Some(3_000.0)]);
        let answered: u64 = outcome.record.steps.iter().map(|step| step.meter.answered_ok).sum();
        assert_eq!(answered, 2_000);
        assert!(outcome.record.series.len() >= 2);
    });
}

/// A scenario opens its sessions by itself, and must tell the same things apart.
#[test]
fn scenarios_tell_what_is_wrong_with_a_server() {
    fn http(mut socket: TcpStream) {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    }
    fn refuse(mut socket: TcpStream) {
        let mut response = 37u32.to_be_bytes().to_vec();
        response.extend([0; 16]);
        response.extend(16u32.to_be_bytes());
        response.extend([0; 17]);
        let _ = socket.write_all(&response);
    }
    fn hold(socket: TcpStream) {
        thread::sleep(Duration::from_secs(120));
        drop(socket);
    }
    type Behaviour = fn(TcpStream);
    let cases: [(Behaviour, u8, &str); 4] = [
        (http, exit_code::NOT_ZOOKEEPER, "HTTP"),
        (refuse, exit_code::REFUSED, "refused to open a session"),
        (hold, exit_code::NOT_ZOOKEEPER, "no answer"),
        (drop, exit_code::REFUSED, "maxClientCnxns"),
    ];
    for (behave, code, words) in cases {
        with_odd_server(behave, |port| {
            let line = "--workload lock --no-setup --connections 2 --warmup-seconds 0 --timeout-seconds 0.5";
            let failure = failure_of(load(port, line));
            assert_eq!(failure.exit_code(), code, "{failure}");
            assert!(failure.to_string().contains(words), "{failure}");
        });
    }
}
