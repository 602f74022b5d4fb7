//! The same random requests to Apache ZooKeeper and to another server, and every answer compared.
//!
//! Owns the run: two fresh servers, a stream from `differential/plan.rs`, lockstep in `pair.rs`, verdicts in
//! `compare.rs`; at the end whole trees, then restarts, then either server on a copy of the other's directory.
//!
//! `RINGKEEPER_DIFF_OPS` operations are done (200,000), in runs of at most 50,000 with the seeds
//! `RINGKEEPER_DIFF_SEED` (1), +1, +2, … A failure prints the line that repeats it.

mod compare;
mod pair;
mod plan;
mod requests;
pub mod walk;

use std::path::Path;
use std::time::Instant;

use crate::client::{Hello, password_of};
use crate::codec::{Frame, Op, op};
use crate::process::{JAVA_VERSION, Kind, Server, copy_dir};
use pair::Pair;
use plan::{Plan, Step};
use walk::Tree;

const SESSIONS: usize = 5;
const OPS_PER_RUN_MAX: u64 = 50_000;
/// Of super:test.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// What a seed decides about the servers rather than the requests.
#[derive(Clone, Copy)]
struct Variant {
    enforce_quota: bool,
    nested_quota: bool,
}

impl Variant {
    fn of(seed: u64) -> Variant {
        Variant { enforce_quota: seed.is_multiple_of(3), nested_quota: seed.is_multiple_of(2) }
    }
}

fn server(kind: Kind, home: &Path, variant: Variant) -> Server {
    let mut server = Server::new(kind, home);
    // Sessions live 2 to 20 hours: nothing expires during a run, and timeouts are still negotiated.
    server.set("tickTime", "3600000");
    server.set("extendedTypesEnabled", "true");
    server.set("enforceQuota", if variant.enforce_quota { "true" } else { "false" });
    server.set("DigestAuthenticationProvider.superDigest", SUPER_DIGEST);
    // Flushes prove nothing here and cost the Java server most of its speed; no snapshots at random times.
    server.set("forceSync", "no");
    server.set("snapCount", "100000000");
    server.set("preAllocSize", "4096");
    // Containers and TTL nodes stay until the stream deletes them.
    server.property("znode.container.checkIntervalMs", "86400000");
    server
}

/// Returns frames compared, or what differed.
fn run(kinds: [Kind; 2], seed: u64, ops: u64) -> Result<u64, String> {
    let variant = Variant::of(seed);
    let home = tempfile::tempdir().expect("cannot make a temporary directory");
    let mut servers =
        [server(kinds[0], &home.path().join("left"), variant), server(kinds[1], &home.path().join("right"), variant)];
    Server::start_all(&mut servers);
    let mut pair = Pair::new(servers);
    let mut plan = Plan::new(seed, SESSIONS, variant.enforce_quota, variant.nested_quota);

    let failed = |pair: &mut Pair, difference: String| {
        let done = pair.ops_done;
        let states = pair.servers.each_mut().map(|server| {
            let state = if server.is_running() { "runs" } else { "is DEAD" };
            format!("{} {state}\n{}", server.kind.name(), server.log_tail())
        });
        format!(
            "{2}\n{3}\n{0} and {1} differ with seed {seed} after {done} operations\n{difference}\nrepeat with:\n  \
             RINGKEEPER_DIFF_SEED={seed} RINGKEEPER_DIFF_OPS={4} cargo test --test testing differential::java_and -- --nocapture",
            kinds[0].name(),
            kinds[1].name(),
            states[0],
            states[1],
            done + 1000,
        )
    };

    let began = Instant::now();
    if let Err(difference) = stream(&mut pair, &mut plan, ops) {
        return Err(failed(&mut pair, difference));
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "seed {seed}: {} operations, {} frames equal, zxid 0x{:x}, {:.0} operations/s on both",
        pair.ops_done,
        pair.frames_compared,
        pair.last_zxid,
        pair.ops_done as f64 / seconds
    );
    let began = Instant::now();
    aftermath(&mut pair, home.path(), variant)
        .map_err(|difference| failed(&mut pair, format!("after the stream: {difference}")))?;
    println!("seed {seed}: trees, restarts and exchanged directories equal, {:.0} s", began.elapsed().as_secs_f64());
    Ok(pair.frames_compared)
}

fn stream(pair: &mut Pair, plan: &mut Plan, ops: u64) -> Result<(), String> {
    for slot in 0..SESSIONS {
        pair.open_session(slot, &plan.new_session())?;
        greet(pair, plan, slot)?;
    }
    while pair.ops_done < ops {
        let step = plan.next(pair.last_zxid);
        perform(pair, plan, step)?;
    }
    Ok(())
}

fn greet(pair: &mut Pair, plan: &mut Plan, slot: usize) -> Result<(), String> {
    plan.greeting(slot).map_or(Ok(()), |step| perform(pair, plan, step))
}

fn perform(pair: &mut Pair, plan: &mut Plan, step: Step) -> Result<(), String> {
    match step {
        Step::Burst { slot, requests } => {
            let heard = pair.burst(slot, &requests)?;
            plan.learn(&requests, &heard);
            if heard.last() == Some(&Frame::Closed) {
                return Err(format!(
                    "both closed the connection of session {slot} unexpectedly, the last request was {:?}",
                    requests.last()
                ));
            }
            Ok(())
        }
        Step::Reads(bursts) => {
            let bursts: Vec<_> = bursts.iter().map(|(slot, requests)| (*slot, &requests[..])).collect();
            pair.bursts(&bursts, pair::Events::InOrder).map(|_| ())
        }
        Step::LastWords { slot, frame, opcode, then } => {
            pair.last_words(slot, &frame, opcode).map_err(|e| format!("{e}\nframe {}", frame.escape_ascii()))?;
            pair.reattach(slot, &then)?;
            greet(pair, plan, slot)
        }
        Step::Renew { slot, close, then } => {
            let gone = pair.sessions[slot].ids;
            pair.last_words(slot, &close, op::CLOSE_SESSION)?;
            refused(pair, gone, gone.map(password_of), "a closed session")?;
            pair.open_session(slot, &then)?;
            greet(pair, plan, slot)
        }
        Step::HangUp { slot, wrong_password, then } => {
            pair.hang_up(slot)?;
            if let Some(password) = wrong_password {
                let ids = pair.sessions[slot].ids;
                refused(pair, ids, [password.clone(), password], "a wrong password")?;
            }
            pair.reattach(slot, &then)?;
            greet(pair, plan, slot)
        }
        Step::Steal { slot, then } => {
            pair.reattach(slot, &then)?;
            greet(pair, plan, slot)
        }
        Step::Stranger(bytes) => stranger(pair, &bytes),
    }
}

fn refused(pair: &mut Pair, ids: [i64; 2], passwords: [Vec<u8>; 2], what: &str) -> Result<(), String> {
    let [left, right] = passwords;
    let hellos = [Hello::reattach(ids[0], &left, 10_000), Hello::reattach(ids[1], &right, 10_000)];
    let (connections, welcomes) = pair.shake_hands(&hellos)?;
    if welcomes.is_some_and(|w| w[0].session_id != 0) {
        return Err(format!("{what} was let in"));
    }
    for mut connection in connections {
        if !matches!(connection.next_frame(), Ok(None)) {
            return Err(format!("{what} was refused, but the connection stays open"));
        }
    }
    Ok(())
}

/// Bytes that are no hello: both servers close without a word.
fn stranger(pair: &mut Pair, bytes: &[u8]) -> Result<(), String> {
    for server in &pair.servers {
        let said = crate::process::four_letter(server.address(), bytes);
        let closed_silently = match &said {
            Ok(text) => text.is_empty(),
            Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
        };
        if !closed_silently {
            return Err(format!("{} said {said:?} to {}", server.kind.name(), bytes.escape_ascii()));
        }
    }
    pair.ops_done += 1;
    Ok(())
}

fn trees(pair: &Pair) -> [Tree; 2] {
    [walk::tree(pair.servers[0].address()), walk::tree(pair.servers[1].address())]
}

/// Everything that is to be equal once the stream has ended: now, after a crash, after a stop, and on the other's directory.
fn aftermath(pair: &mut Pair, home: &Path, variant: Variant) -> Result<(), String> {
    let before = trees(pair);
    walk::same_meaning(&mut pair.maps, &before[0], &before[1]).map_err(|e| format!("the trees differ: {e}"))?;
    same_gauges(pair)?;
    let digests = pair.servers.each_ref().map(digests);

    for (nth, how) in ["kill -9", "SIGTERM"].into_iter().enumerate() {
        for server in &mut pair.servers {
            if nth == 0 { server.kill() } else { server.stop() }
        }
        Server::start_all(&mut pair.servers);
        let after = trees(pair);
        let usage_counts_alike = !variant.nested_quota;
        for side in 0..2 {
            let bits = walk::same_bits(&walk::without_usage(&before[side]), &walk::without_usage(&after[side]));
            bits.map_err(|e| format!("{} after {how} and a restart: {e}", pair.servers[side].kind.name()))?;
        }
        if usage_counts_alike {
            let meaning = walk::same_meaning(&mut pair.maps, &after[0], &after[1]);
            meaning.map_err(|e| format!("the trees differ after {how} and a restart: {e}"))?;
        }
        sessions_survive(pair)?;
    }
    let before = trees(pair);
    swap_directories(pair, home, &before, &digests)
}

/// Numbers of `mntr` that are decided by the requests alone. Not `zk_approximate_data_size`: Java's does not follow the
/// text of quota usage as it grows. `four_letter.rs` compares it where there is no quota.
fn same_gauges(pair: &Pair) -> Result<(), String> {
    let keys = ["zk_znode_count", "zk_watch_count", "zk_ephemerals_count", "zk_global_sessions"];
    let values = pair.servers.each_ref().map(|server| {
        let text = server.four_letter("mntr");
        keys.map(|key| text.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_string()))
    });
    if values[0] == values[1] && values[0].iter().all(Option::is_some) {
        return Ok(());
    }
    Err(format!("mntr differs in {keys:?}\n   left: {:?}\n  right: {:?}", values[0], values[1]))
}

/// Sessions are in the log: after a restart they are attached again with their passwords, and serve.
fn sessions_survive(pair: &mut Pair) -> Result<(), String> {
    pair.sessions.iter_mut().for_each(|session| session.connections = None);
    for slot in 0..pair.sessions.len() {
        pair.reattach(slot, &Hello::new_session(i32::MAX)).map_err(|e| format!("after a restart: {e}"))?;
        let ephemerals = Op::Path { opcode: op::GET_EPHEMERALS, path: "/".into() };
        pair.burst(slot, &[(1, ephemerals)]).map_err(|e| format!("after a restart: {e}"))?;
    }
    Ok(())
}

/// The lines of the `hash` command: tree digests by zxid. They hold times and session ids, so they are
/// comparable only between servers that read the same log.
fn digests(server: &Server) -> Vec<String> {
    server.four_letter("hash").lines().map(str::to_string).collect()
}

/// Either server on a copy of the other's directory has the other's tree and digests, and can write on.
fn swap_directories(
    pair: &mut Pair,
    home: &Path,
    before: &[Tree; 2],
    digests_before: &[Vec<String>; 2],
) -> Result<(), String> {
    for server in &mut pair.servers {
        server.stop();
    }
    for (guest, host) in [(0, 1), (1, 0)] {
        let (guest_kind, host_kind) = (pair.servers[guest].kind, pair.servers[host].kind);
        let story = format!("{} on the directory of {}", guest_kind.name(), host_kind.name());
        let guest_home = home.join(format!("guest-{guest}"));
        copy_dir(&pair.servers[host].data_dir(), &guest_home.join("data"));
        let mut visitor = server(guest_kind, &guest_home, Variant { enforce_quota: false, nested_quota: false });
        visitor.start();
        walk::same_bits(&walk::without_usage(&before[host]), &walk::without_usage(&walk::tree(visitor.address())))
            .map_err(|e| format!("{story}: {e}"))?;
        let seen = digests(&visitor);
        let foreign: Vec<&String> = seen.iter().filter(|line| knows_zxid_of(&digests_before[host], line)).collect();
        if let Some(line) = foreign.iter().find(|line| !digests_before[host].contains(line)) {
            return Err(format!("{story}: digest {line:?} is none of {:?}", digests_before[host]));
        }
        let mismatches = visitor
            .four_letter("mntr")
            .lines()
            .find_map(|line| line.strip_prefix("zk_digest_mismatches_count").map(str::to_string));
        if mismatches.as_deref().map(str::trim) != Some("0") {
            return Err(format!("{story}: zk_digest_mismatches_count is {mismatches:?}"));
        }
        write_on(&mut visitor).map_err(|e| format!("{story}: {e}"))?;
        // And home again: what the guest wrote is read by the host's kind.
        let left_behind = walk::tree(visitor.address());
        visitor.stop();
        let home_again = home.join(format!("home-again-{guest}"));
        copy_dir(&visitor.data_dir(), &home_again.join("data"));
        let mut returned = server(host_kind, &home_again, Variant { enforce_quota: false, nested_quota: false });
        returned.start();
        walk::same_bits(&walk::without_usage(&left_behind), &walk::without_usage(&walk::tree(returned.address())))
            .map_err(|e| format!("{story}, and {} back on it: {e}", host_kind.name()))?;
    }
    Ok(())
}

fn knows_zxid_of(digests: &[String], line: &str) -> bool {
    let zxid = |line: &str| line.split(':').next().map(str::to_string);
    digests.iter().any(|known| zxid(known) == zxid(line))
}

fn write_on(server: &mut Server) -> Result<(), String> {
    let mut connection = crate::client::Connection::open(server.address()).map_err(|e| e.to_string())?;
    connection.shake_hands(&Hello::new_session(i32::MAX)).map_err(|e| e.to_string())?.ok_or("no session")?;
    connection.ask(-4, &requests::RequestMaker::digest_auth("super:test"));
    for n in 0..300 {
        let path = format!("/visitor-{n}");
        let data = codec_data(&path);
        let flags = if n % 3 == 0 { 1 } else { 0 };
        connection.ask(
            n,
            &Op::Create {
                opcode: op::CREATE2,
                path: path.as_str().into(),
                data,
                acl: crate::codec::Acl::open(),
                flags,
            },
        );
    }
    connection.ask(300, &Op::Bare { opcode: op::CLOSE_SESSION });
    Ok(())
}

fn codec_data(text: &str) -> crate::codec::Data {
    crate::codec::Data(Some(text.as_bytes().to_vec()))
}

fn runs(kinds: [Kind; 2], first_seed: u64, ops: u64) -> Result<u64, String> {
    let mut frames = 0;
    for nth in 0..ops.div_ceil(OPS_PER_RUN_MAX) {
        let left = ops - nth * OPS_PER_RUN_MAX;
        frames += run(kinds, first_seed + nth, left.min(OPS_PER_RUN_MAX))?;
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The deliberate differences are documentation for the reader of a green run.
    #[test]
    fn java_and_the_server_under_test_answer_alike() {
        for (what, why) in plan::DELIBERATE_DIFFERENCES {
            println!("not drawn: {what}: {why}");
        }
        let (seed, ops) =
            (from_environment("RINGKEEPER_DIFF_SEED", 1), from_environment("RINGKEEPER_DIFF_OPS", 200_000));
        runs([Kind::Java(JAVA_VERSION), Kind::under_test()], seed, ops)
            .unwrap_or_else(|difference| panic!("{difference}"));
    }

    /// The harness itself: two servers of one kind never differ, so a difference elsewhere is one of behaviour.
    #[test]
    fn java_and_java_answer_alike() {
        let java = Kind::Java(JAVA_VERSION);
        runs([java, java], 1000, 6_000).unwrap_or_else(|difference| panic!("{difference}"));
    }

    /// And it can fail: 3.8 differs from 3.9 in the zxid of watch events and in what removeWatches takes for a match.
    #[test]
    fn an_older_java_is_found_out() {
        let difference = runs([Kind::Java(JAVA_VERSION), Kind::Java("3.8.5")], 1, 20_000);
        let text = difference.expect_err("3.8 and 3.9 cannot answer alike");
        for part in ["java-3.9.5 and java-3.8.5 differ with seed 1", "frame", "left: ", "right: ", "repeat with"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
