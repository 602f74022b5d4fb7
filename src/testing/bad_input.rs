//! Clients that mean harm, or are broken: each gets what it deserves, and nobody else notices.
//!
//! One server goes through everything that comes over sockets; at the end it is the same process, has as many connections,
//! descriptors and about as much memory as at the beginning. Starts that must be refused are told in `refused_starts.rs`.

mod greedy;
mod limits;
mod refused_starts;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::client::{Connection, Hello, Welcome, password_of};
use crate::codec::{Frame, Op, Text, op, put_int, put_long};
use crate::process::{Kind, Server};
use crate::stories::*;

/// Default of `jute.maxbuffer`.
const FRAME_BYTES_MAX: usize = 0xf_ffff;
const MARSHALLING_ERROR: i32 = -5;
const UNIMPLEMENTED: i32 = -6;
const TIMEOUT_MS: i32 = 100_000;
/// Beyond this a lone request waits for somebody who does not do his part, however loaded the machine is.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A server and somebody who uses it as one should.
struct Scene {
    server: Server,
    owner: Connection,
    welcome: Welcome,
    _home: tempfile::TempDir,
}

impl Scene {
    fn set(prepare: impl FnOnce(&mut Server)) -> Scene {
        let home = tempfile::tempdir().expect("cannot make a temporary directory");
        let mut server = Server::new(Kind::under_test(), home.path());
        server.set("maxSessionTimeout", "600000").set("forceSync", "no");
        prepare(&mut server);
        server.start();
        let (mut owner, welcome) = session(server.address(), TIMEOUT_MS);
        owner.ask(1, &create("/owner", b"mine", EPHEMERAL));
        Scene { server, owner, welcome, _home: home }
    }

    /// The well-behaved client is served, and at once.
    fn check_on_owner(&mut self, after: &str) {
        let began = Instant::now();
        self.owner.ask(2, &set("/owner", after.as_bytes()));
        assert_eq!(text_of(&self.owner.ask(3, &get("/owner"))), after);
        assert!(began.elapsed() < AT_ONCE, "{after}: others wait {:?}", began.elapsed());
    }

    fn connections(&self) -> u64 {
        gauge(&self.server, "zk_num_alive_connections")
    }

    fn connect(&self) -> Connection {
        Connection::open(self.server.address()).expect("cannot connect")
    }

    fn session(&self) -> Connection {
        session(self.server.address(), TIMEOUT_MS).0
    }
}

fn frame_of(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_int(&mut bytes, payload.len() as i32);
    bytes.extend_from_slice(payload);
    bytes
}

fn send_bare(connection: &mut Connection, bytes: &[u8]) {
    connection.push_bare(bytes);
    // The server may have closed before all of it was sent.
    let _ = connection.flush();
}

/// Lengths that no client may announce, before and after the handshake.
fn lengths(scene: &mut Scene) {
    for length in [FRAME_BYTES_MAX as i32 + 1, 1 << 24, i32::MAX, -1, -2, i32::MIN] {
        let mut first = scene.connect();
        send_bare(&mut first, &length.to_be_bytes());
        assert!(is_closed_silently(&mut first), "length {length} instead of a handshake");
        let mut later = scene.session();
        send_bare(&mut later, &length.to_be_bytes());
        assert!(is_closed_silently(&mut later), "length {length} after the handshake");
    }
    let mut client = scene.session();
    client.ask(1, &create("/longest", b"", PERSISTENT));
    let around = set("/longest", b"").body().len() + 8;
    let longest = vec![b'x'; FRAME_BYTES_MAX - around];
    client.ask(2, &set("/longest", &longest));
    assert_eq!(text_of(&client.ask(3, &get("/longest"))).len(), longest.len());
    client.push(4, &set("/longest", &vec![b'x'; FRAME_BYTES_MAX - around + 1]));
    let _ = client.flush();
    assert!(is_closed_silently(&mut client), "one byte too many");
    scene.owner.ask(4, &delete("/longest"));
}

/// Frames that break off, and frames that come a byte at a time.
fn pieces(scene: &mut Scene) {
    let hello = frame_of(&Hello::new_session(TIMEOUT_MS).body());
    for cut in [0, 1, 3, 4, 5, hello.len() - 1] {
        let mut connection = scene.connect();
        send_bare(&mut connection, &hello[..cut]);
        connection.shut_write();
        assert!(is_closed_silently(&mut connection), "a handshake cut after {cut} bytes");
    }
    let mut request = Vec::new();
    let body = create("/half-sent", b"x", PERSISTENT).body();
    put_int(&mut request, 1);
    put_int(&mut request, op::CREATE);
    request.extend_from_slice(&body);
    let request = frame_of(&request);
    for cut in [2, 4, 11, request.len() - 1] {
        let mut connection = scene.session();
        send_bare(&mut connection, &request[..cut]);
        connection.shut_write();
        assert!(is_closed_silently(&mut connection), "a request cut after {cut} bytes");
    }
    assert_eq!(code_of(scene.owner.call(5, &exists("/half-sent"))), NO_NODE);

    let mut stream = TcpStream::connect(scene.server.address()).expect("cannot connect");
    stream.set_nodelay(true).expect("cannot set an option");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("cannot set an option");
    for byte in hello.iter().chain(&request).chain(&frame_of(&[0, 0, 0, 2, 0, 0, 0, 11])) {
        stream.write_all(&[*byte]).expect("the server hung up on a slow client");
        if rand::random_bool(0.3) {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    let mut answers = vec![0; (4 + 37) + (4 + 16 + 4 + "/half-sent".len()) + (4 + 16)];
    stream.read_exact(&mut answers).expect("a dribbled request is a request");
    assert!(answers.ends_with(&[0, 0, 0, 0]), "the ping succeeded");
    drop(stream);
    scene.owner.ask(6, &delete("/half-sent"));
}

/// Other protocols, and noise.
fn strangers(scene: &mut Scene) {
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl\r\n\r\n";
    let tls = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0x55; 500]].concat();
    let ssh = b"SSH-2.0-OpenSSH_9.6\r\n";
    for bytes in [&http[..], &tls, ssh, b"ruok?"[1..].as_ref(), b"RUOK\n", &[0; 4]] {
        let mut connection = scene.connect();
        send_bare(&mut connection, bytes);
        connection.shut_write();
        assert!(is_closed_silently(&mut connection), "{}", bytes.escape_ascii());
    }
    let mut random = SmallRng::seed_from_u64(11);
    for _ in 0..300 {
        let mut noise = vec![0; random.random_range(1..200)];
        random.fill(&mut noise[..]);
        let mut connection = scene.connect();
        send_bare(&mut connection, &noise);
        connection.shut_write();
        while let Ok(Some(_)) = connection.next_frame() {}
    }
}

/// Well-framed nonsense behind a proper handshake: any opcode, any bytes.
fn nonsense(scene: &mut Scene) {
    let mut random = SmallRng::seed_from_u64(12);
    let known = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 100, 101, 102, 103, 104, 105,
        106, 107,
    ];
    let mut replies = 0;
    for _ in 0..150 {
        let mut client = scene.session();
        for xid in 1..20 {
            let opcode =
                if random.random_bool(0.9) { known[random.random_range(0..known.len())] } else { random.random() };
            // Half of them begin like a request, with a path.
            let mut body = if random.random_bool(0.5) { exists("/nonsense").body() } else { Vec::new() };
            let mut tail = vec![0; random.random_range(0..60)];
            random.fill(&mut tail[..]);
            body.extend(tail);
            client.push_request(xid, opcode, &body);
        }
        let _ = client.flush();
        client.shut_write();
        while let Ok(Some(_)) = client.next_frame() {
            replies += 1;
        }
    }
    assert!(replies > 150, "the server never says a word: {replies} replies");
}

fn unknown_opcodes(scene: &mut Scene) {
    for opcode in [0, 10, 13, 23, 99, 108, -1, -10, -12, i32::MAX, i32::MIN] {
        let mut client = scene.session();
        client.push_request(7, opcode, &[0; 12]);
        client.push(8, &set("/owner", b"behind it"));
        client.flush().expect("cannot send");
        let reply = next(&mut client, op::EXISTS).expect("an unknown opcode is answered");
        let Frame::Reply { xid: 7, zxid: -1, err: UNIMPLEMENTED, .. } = reply else { panic!("{opcode}: {reply:?}") };
        assert!(is_closed_silently(&mut client), "opcode {opcode}: nothing behind it counts");
    }
}

/// Fields that lie about what follows them. A request that cannot be read is answered and costs nobody else anything.
fn lying_fields(scene: &mut Scene) {
    let resident = scene.server.heap_bytes();
    let mut client = scene.session();
    let text = Text(Some(b"/caf\xe9".to_vec()));
    let acl = crate::codec::Acl::open();
    let data = crate::codec::Data(None);
    let not_text = Op::Create { opcode: op::CREATE, path: text.clone(), data, acl, flags: 0 };
    assert_eq!(code_of(client.call(1, &not_text)), MARSHALLING_ERROR);
    let read = Op::Read { opcode: op::EXISTS, path: text, watch: true };
    assert_eq!(code_of(client.call(2, &read)), MARSHALLING_ERROR);
    for count in [i32::MAX, 0x7fff_fff0, 100_000_000, -2, i32::MIN] {
        let mut acl_count = Vec::new();
        put_int(&mut acl_count, 2);
        acl_count.extend_from_slice(b"/a");
        put_int(&mut acl_count, 0);
        put_int(&mut acl_count, count);
        let mut watches = Vec::new();
        put_long(&mut watches, 0);
        put_int(&mut watches, count);
        let mut path_length = Vec::new();
        put_int(&mut path_length, count);
        for (opcode, body) in [
            (op::CREATE, &acl_count),
            (op::SET_WATCHES, &watches),
            (op::SET_WATCHES2, &watches),
            (op::GET_DATA, &path_length),
        ] {
            let mut client = scene.session();
            client.push_request(3, opcode, body);
            client.shut_down_after_sending();
            match next(&mut client, opcode) {
                Ok(Frame::Reply { xid: 3, err: MARSHALLING_ERROR, .. } | Frame::Closed) => {}
                other => panic!("opcode {opcode}, count {count}: {other:?}"),
            }
        }
    }
    let grown = scene.server.heap_bytes().saturating_sub(resident);
    assert!(grown < 32 << 20, "{grown} bytes more after counts that lie");
}

impl Connection {
    fn shut_down_after_sending(&mut self) {
        self.flush().expect("cannot send");
        self.shut_write();
    }
}

/// Somebody guesses at another's session.
fn wrong_passwords(scene: &mut Scene) {
    let id = scene.welcome.session_id;
    assert_eq!(password_of(id), scene.welcome.password);
    let mut almost = scene.welcome.password.clone();
    almost[15] ^= 1;
    for password in [almost, vec![0; 16], vec![], scene.welcome.password[..15].to_vec()] {
        let mut thief = scene.connect();
        let welcome = thief.shake_hands(&Hello::reattach(id, &password, TIMEOUT_MS)).expect("an answer");
        assert!(welcome.is_none_or(|w| w.session_id == 0 && w.password == [0; 16]), "let in with {password:?}");
        assert!(is_closed_silently(&mut thief));
        scene.check_on_owner("a wrong password");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Story = (&'static str, fn(&mut Scene));

    #[test]
    fn one_server_survives_them_all_and_keeps_nothing_of_them() {
        for threads in [Threads::One, Threads::Workers(2)] {
            let mut scene = Scene::set(|server| {
                if server.kind == Kind::Ours {
                    threads.choose(server);
                }
            });
            let (connections, sockets) = (scene.connections(), scene.server.sockets());
            let watches = gauge(&scene.server, "zk_watch_count");
            let stories: [Story; 7] = [
                ("lengths", lengths),
                ("pieces", pieces),
                ("strangers", strangers),
                ("nonsense", nonsense),
                ("unknown opcodes", unknown_opcodes),
                ("lying fields", lying_fields),
                ("wrong passwords", wrong_passwords),
            ];
            for (name, story) in stories {
                let began = Instant::now();
                story(&mut scene);
                scene.check_on_owner(name);
                wait_until(&format!("{name}: connections are let go"), || scene.connections() == connections);
                // `mntr` needs one itself, which may have been counted.
                wait_until(&format!("{name}: sockets are let go"), || scene.server.sockets() <= sockets);
                assert_eq!(gauge(&scene.server, "zk_watch_count"), watches, "{name}");
                println!("{threads:?}, {name}: {:?}", began.elapsed());
            }
            assert!(scene.server.is_running());
            assert!(!scene.server.log().contains("panicked"), "{}", scene.server.log_tail());
        }
    }
}
