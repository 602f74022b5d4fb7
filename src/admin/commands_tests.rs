//! Expected texts were captured from Apache ZooKeeper 3.9.5, standalone and of an ensemble of three voters and an observer,
//! with ports, ids and times as they came; only the version is ours.

use super::*;
use crate::admin::date::TimeZone;
use crate::admin::status::{ExpiringConnection, SessionTraffic};
use crate::config::{CommandLine, load};
use crate::observe::{Latencies, MetricsRegistry};
use crate::types::{WallMillis, Zxid};
use std::collections::BTreeMap;
use std::io::ErrorKind;

const VERSION_LINE: &str = "Zookeeper version: 3.9.5-ringkeeper-";

pub(in crate::admin) fn server() -> ServerStatus {
    ServerStatus {
        mode: ServerMode::Standalone,
        last_zxid: Zxid(0x133),
        connections: 5,
        outstanding_requests: 0,
        node_count: 309,
        ephemerals_count: 3,
        watch_count: 3,
        approximate_data_bytes: 4864,
        global_sessions: 3,
        local_sessions: 0,
        uptime_ms: 55213,
        quorum: None,
        open_file_descriptors: 39,
        max_file_descriptors: 20000,
        auth_failed: 0,
        connection_drop_probability: 0.0,
        quotas: BTreeMap::new(),
        metrics: MetricsRegistry::new().read(),
        latencies: Latencies::default(),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn bare(port: u16, reading: bool, received: u64) -> ConnectionStatus {
    ConnectionStatus {
        remote: local(port),
        reading,
        outstanding_requests: 0,
        packets_received: received,
        packets_sent: 0,
        session: None,
    }
}

fn with_session(port: u16, packets: (u64, u64), session: SessionTraffic) -> ConnectionStatus {
    ConnectionStatus { packets_sent: packets.1, session: Some(session), ..bare(port, true, packets.0) }
}

/// Below the version line, which must be ours.
fn below_version(text: &str) -> &str {
    let (version, rest) = text.split_once('\n').unwrap();
    assert!(version.starts_with(VERSION_LINE), "{version}");
    rest
}

#[test]
fn srvr_and_stat() {
    let registry = MetricsRegistry::new();
    let writer = registry.register();
    // 12 + 22 * 1 over 50 requests; 637 received, 640 sent.
    for latency in std::iter::once(12).chain([1; 22]).chain([0; 27]) {
        writer.request_latency(latency);
    }
    writer.packets_received(637);
    writer.packets_sent(640);
    let server = ServerStatus { metrics: registry.read(), ..server() };
    let stats = "Latency min/avg/max: 0/0.68/12\nReceived: 637\nSent: 640\nConnections: 5\nOutstanding: 0\nZxid: 0x133\n\
                 Mode: standalone\nNode count: 309\n";
    assert_eq!(below_version(&srvr(&server)), stats);
    let connections = [bare(46498, true, 0), bare(46600, false, 1)];
    let expected = format!(
        "Clients:\n /127.0.0.1:46498[1](queued=0,recved=0,sent=0)\n /127.0.0.1:46600[0](queued=0,recved=1,sent=0)\n\n{stats}"
    );
    assert_eq!(below_version(&stat(&server, &connections)), expected);
}

#[test]
fn a_fresh_and_a_read_only_server() {
    let fresh = ServerStatus { last_zxid: Zxid::ZERO, connections: 1, node_count: 5, ..server() };
    assert_eq!(
        below_version(&srvr(&fresh)),
        "Latency min/avg/max: 0/0.0/0\nReceived: 0\nSent: 0\nConnections: 1\nOutstanding: 0\nZxid: 0x0\nMode: standalone\n\
         Node count: 5\n"
    );
    let read_only = ServerStatus { mode: ServerMode::ReadOnly, ..fresh };
    assert!(below_version(&srvr(&read_only)).starts_with("READ-ONLY mode; serving only read-only clients\nLatency"));
    assert_eq!((isro(read_only.mode), isro(ServerMode::Leader)), ("ro", "rw"));
}

#[test]
fn a_leader_tells_the_sizes_of_its_proposals() {
    let registry = MetricsRegistry::new();
    let member = |mode| ServerStatus { mode, metrics: registry.read(), ..server() };
    let last_lines = |server: &ServerStatus| srvr(server).lines().skip(7).map(str::to_owned).collect::<Vec<_>>();
    let before = ["Mode: leader", "Node count: 309", "Proposal sizes last/min/max: -1/-1/-1"];
    assert_eq!(last_lines(&member(ServerMode::Leader)), before);
    let writer = registry.register();
    [48, 98, 88].into_iter().for_each(|bytes| writer.proposal(bytes, 1));
    let leader = member(ServerMode::Leader);
    assert!(srvr(&leader).ends_with("\nNode count: 309\nProposal sizes last/min/max: 88/48/98\n"));
    assert!(stat(&leader, &[]).ends_with("\nNode count: 309\nProposal sizes last/min/max: 88/48/98\n"));
    for (mode, name) in [(ServerMode::Follower, "follower"), (ServerMode::Observer, "observer")] {
        assert_eq!(last_lines(&member(mode)), [format!("Mode: {name}"), "Node count: 309".to_owned()]);
    }
}

#[test]
fn cons_with_and_without_session() {
    let busy = SessionTraffic {
        session: SessionId(0x1000014072a0002),
        last_op: "CREA",
        established: WallMillis(1795343850558),
        session_timeout_ms: 20000,
        last_cxid: 0x258,
        last_zxid: Zxid(0x133),
        last_response_ms: 1367665,
        last_latency_ms: 0,
        min_latency_ms: 0,
        avg_latency_ms: 0,
        max_latency_ms: 5,
    };
    let reset = SessionTraffic {
        last_op: "NA",
        last_cxid: -1,
        last_zxid: Zxid(-1),
        last_response_ms: 0,
        max_latency_ms: 0,
        ..busy.clone()
    };
    let connections = [bare(46498, true, 0), with_session(46486, (602, 603), busy), with_session(46486, (0, 0), reset)];
    assert_eq!(
        cons(&connections),
        " /127.0.0.1:46498[1](queued=0,recved=0,sent=0)\n \
         /127.0.0.1:46486[1](queued=0,recved=602,sent=603,sid=0x1000014072a0002,lop=CREA,est=1795343850558,to=20000,lcxid=0x258,lzxid=0x133,lresp=1367665,llat=0,minlat=0,avglat=0,maxlat=5)\n \
         /127.0.0.1:46486[1](queued=0,recved=0,sent=0,sid=0x1000014072a0002,lop=NA,est=1795343850558,to=20000,lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n\n"
    );
    assert_eq!(cons(&[]), "\n");
}

#[test]
fn addresses_as_java_writes_them() {
    let at = |text: &str| java_address(text.parse().unwrap());
    assert_eq!(at("127.0.0.1:5"), "/127.0.0.1:5");
    assert_eq!(at("[::1]:36380"), "/[0:0:0:0:0:0:0:1]:36380");
    assert_eq!(at("[::ffff:10.0.0.1]:5"), "/10.0.0.1:5");
    assert_eq!(at("[2001:db8::ff]:5"), "/[2001:db8:0:0:0:0:0:ff]:5");
}

fn directories() -> Directories {
    Directories {
        data_dir: "/var/zk/version-2".into(),
        data_dir_bytes: 67109358,
        log_dir: "/var/zklog/version-2".into(),
        log_dir_bytes: 478,
    }
}

#[test]
fn conf_and_dirs() {
    let line = CommandLine { given: crate::config::Given::File("zoo.cfg".into()), ..CommandLine::default() };
    let text = b"dataDir=/var/zk\nclientPort=28471\ntickTime=2000\n";
    let mut files = |path: &std::path::Path| match path.to_str() {
        Some("zoo.cfg") => Ok(text.to_vec()),
        _ => Err(ErrorKind::NotFound.into()),
    };
    let settings = load(&line, &mut files).unwrap().settings;
    assert_eq!(
        conf(&settings, &directories(), ServerMode::Standalone, None),
        "clientPort=28471\nsecureClientPort=-1\ndataDir=/var/zk/version-2\ndataDirSize=67109358\n\
         dataLogDir=/var/zklog/version-2\ndataLogSize=478\ntickTime=2000\nmaxClientCnxns=60\nminSessionTimeout=4000\n\
         maxSessionTimeout=40000\nclientPortListenBacklog=-1\nserverId=0\n"
    );
    assert_eq!(dirs(&directories()), "datadir_size: 67109358\nlogdir_size: 478\n");
}

#[test]
fn conf_of_a_member() {
    let line = CommandLine { given: crate::config::Given::File("zoo.cfg".into()), ..CommandLine::default() };
    let text = |id, mode| {
        let zoo_cfg = "dataDir=/var/zk\nclientPort=41004\ntickTime=1000\ninitLimit=10\nsyncLimit=5\npeerType=observer\n\
                       server.1=127.0.0.1:41101:41201\nserver.2=127.0.0.1:41102:41202\n\
                       server.3=127.0.0.1:41103:41203\nserver.4=127.0.0.1:41104:41204:observer\n";
        let mut files = |path: &std::path::Path| match path.to_str() {
            Some("zoo.cfg") => Ok(zoo_cfg.as_bytes().to_vec()),
            Some("/var/zk/myid") => Ok(format!("{id}\n").into_bytes()),
            _ => Err(ErrorKind::NotFound.into()),
        };
        conf(&load(&line, &mut files).unwrap().settings, &directories(), mode, None)
    };
    let (own, observer) = (text(3, ServerMode::Follower), text(4, ServerMode::Observer));
    let read_only = text(3, ServerMode::ReadOnly);
    assert_eq!(own.split_once("membership: \n").unwrap().0, read_only);
    assert_eq!(
        own.split_once("clientPortListenBacklog=-1\n").unwrap().1,
        "serverId=3\ninitLimit=10\nsyncLimit=5\nelectionAlg=3\nelectionPort=41203\nquorumPort=41103\npeerType=0\n\
         membership: \nserver.1=127.0.0.1:41101:41201:participant\nserver.2=127.0.0.1:41102:41202:participant\n\
         server.3=127.0.0.1:41103:41203:participant\nserver.4=127.0.0.1:41104:41204:observer\nversion=0"
    );
    assert!(observer.contains("serverId=4\n") && observer.contains("\nelectionPort=41204\n"));
    assert!(observer.contains("\npeerType=1\n"));
}

#[test]
fn dump_of_a_learner() {
    let sid = |first: i64, rest: i64| SessionId(first << 56 | rest);
    let status = DumpStatus {
        local_sessions: None,
        sessions: DumpSessions::OfLeader(vec![
            (sid(1, 0xfd625b0000), 10_000),
            (sid(2, 0xfd63130000), 10_000),
            (sid(3, 0xfd627a0000), 10_000),
        ]),
        ephemerals: vec![(sid(1, 0xfd625b0000), vec!["/e0".to_owned()])],
        connections: Vec::new(),
        time_zone: TimeZone::utc(),
    };
    assert_eq!(
        dump(&status),
        "SessionTracker dump:\nGlobal Sessions(3):\n0x10000fd625b0000\t10000ms\n0x20000fd63130000\t10000ms\n\
         0x30000fd627a0000\t10000ms\nephemeral nodes dump:\nSessions with Ephemerals (1):\n0x10000fd625b0000:\n\t/e0\n\
         Connections dump:\nConnections Sets (0)/(0):\n"
    );
    let none = DumpStatus { sessions: DumpSessions::OfLeader(Vec::new()), ..status };
    assert!(dump(&none).starts_with("SessionTracker dump:\nGlobal Sessions(0):\nephemeral nodes dump:\n"));
    let local = Some(vec![Bucket { expires_at: WallMillis(1_795_343_861_000), members: vec![sid(1, 7)] }]);
    let with_local = DumpStatus { local_sessions: local.clone(), ..none };
    let of_leader = DumpStatus { sessions: DumpSessions::Expiring(Vec::new()), ..with_local.clone() };
    for (status, global) in [(with_local, "Global Sessions(0):"), (of_leader, "Global Session Sets (0)/(0):")] {
        let text = dump(&status);
        let expected = format!("\t0x100000000000007\n{global}\nephemeral nodes dump:\n");
        assert!(text.starts_with("SessionTracker dump:\nLocal Session Sets (1)/(1):\n1 expire at "), "{text}");
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn dump_of_sessions_ephemerals_and_connections() {
    let sid = |last: i64| SessionId(0x1000014072a0000 + last);
    let connection = |port, session| ExpiringConnection { remote: local(port), session };
    let bucket = |expires_at: i64, members: Vec<SessionId>| Bucket { expires_at: WallMillis(expires_at), members };
    let status = DumpStatus {
        local_sessions: None,
        sessions: DumpSessions::Expiring(vec![
            bucket(1_795_343_861_000, vec![sid(0)]),
            bucket(1_795_343_871_000, vec![sid(1), sid(2)]),
        ]),
        ephemerals: vec![(sid(0), vec!["/p/e2".to_owned(), "/p/e1".to_owned()]), (sid(1), vec!["/eph".to_owned()])],
        connections: vec![Bucket {
            expires_at: WallMillis(1_795_343_863_000),
            members: vec![connection(46498, SessionId::NONE), connection(46470, sid(0))],
        }],
        time_zone: TimeZone::utc(),
    };
    assert_eq!(
        dump(&status),
        "SessionTracker dump:\nSession Sets (2)/(3):\n1 expire at Sun Nov 22 10:37:41 UTC 2026:\n\t0x1000014072a0000\n\
         2 expire at Sun Nov 22 10:37:51 UTC 2026:\n\t0x1000014072a0001\n\t0x1000014072a0002\nephemeral nodes dump:\n\
         Sessions with Ephemerals (2):\n0x1000014072a0000:\n\t/p/e2\n\t/p/e1\n0x1000014072a0001:\n\t/eph\n\
         Connections dump:\nConnections Sets (1)/(2):\n2 expire at Sun Nov 22 10:37:43 UTC 2026:\n\
         \tip: /127.0.0.1:46498 sessionId: 0x0\n\tip: /127.0.0.1:46470 sessionId: 0x1000014072a0000\n"
    );
}

#[test]
fn watches() {
    let paths = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect();
    let status = WatchStatus {
        by_session: BTreeMap::from([
            (SessionId(0x1000014072a0000), paths(&["/p"])),
            (SessionId(0x1000014072a0001), paths(&["/p", "/nope"])),
        ]),
    };
    assert_eq!(wchs(&status.summary()), "2 connections watching 2 paths\nTotal watches:3\n");
    assert_eq!(wchc(&status), "0x1000014072a0000\n\t/p\n0x1000014072a0001\n\t/p\n\t/nope\n\n");
    assert_eq!(wchp(&status), "/nope\n\t0x1000014072a0001\n/p\n\t0x1000014072a0000\n\t0x1000014072a0001\n\n");
    let none = WatchStatus::default();
    assert_eq!(wchs(&none.summary()), "0 connections watching 0 paths\nTotal watches:0\n");
    assert_eq!((wchc(&none), wchp(&none)), ("\n".to_owned(), "\n".to_owned()));
}

#[test]
fn hash_masks_and_environment() {
    let digests =
        [(0x80, 280943215222), (0x100, 559546929254)].map(|(zxid, digest)| TreeDigest { zxid: Zxid(zxid), digest });
    assert_eq!(hash(&digests), "80: 280943215222\n100: 559546929254\n");
    assert_eq!(hash(&[]), "");
    assert_eq!(trace_mask(crate::admin::TRACE_MASK_DEFAULT), "306");
    let text = envi(&Environment { host_name: "zoo1".to_owned(), memory_max_mb: 256, ..Environment::default() });
    let keys: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split('=').next()).collect();
    // In the order of ZooKeeper 3.9.5.
    let expected = "zookeeper.version host.name java.version java.vendor java.home java.class.path java.library.path \
                    java.io.tmpdir java.compiler os.name os.arch os.version user.name user.home user.dir os.memory.free \
                    os.memory.max os.memory.total";
    assert_eq!(keys.join(" "), expected);
    assert!(text.starts_with("Environment:\nzookeeper.version=3.9.5-ringkeeper-"));
    assert!(text.contains("\nhost.name=zoo1\n") && text.contains("\nos.memory.max=256MB\n"));
}

/// Of one that was removed by a reconfiguration: it keeps its ports.
#[test]
fn conf_of_a_member_shows_what_is_in_force() {
    let line = CommandLine { given: crate::config::Given::File("zoo.cfg".into()), ..CommandLine::default() };
    let zoo_cfg = "dataDir=/var/zk\nclientPort=41004\ninitLimit=10\nsyncLimit=5\nserver.1=127.0.0.1:41101:41201\n\
                   server.2=127.0.0.1:41102:41202\nserver.3=127.0.0.1:41103:41203\n";
    let mut files = |path: &std::path::Path| match path.to_str() {
        Some("zoo.cfg") => Ok(zoo_cfg.as_bytes().to_vec()),
        Some("/var/zk/myid") => Ok(b"3\n".to_vec()),
        _ => Err(ErrorKind::NotFound.into()),
    };
    let settings = load(&line, &mut files).unwrap().settings;
    let own = settings.membership.members[&crate::types::ServerId(3)].clone();
    let text = "server.1=127.0.0.1:41101:41201:participant;0.0.0.0:5\nversion=100000007";
    let config = crate::types::QuorumConfig::parse(text).unwrap().into();
    let in_force = InForce { config, role: crate::types::Role::Participant, own: Some(own) };
    let shown = conf(&settings, &directories(), ServerMode::Follower, Some(&in_force));
    let ports = "electionPort=41203\nquorumPort=41103\npeerType=0\nmembership: \n";
    assert!(shown.starts_with("clientPort=41004\n") && shown.ends_with(&format!("{ports}{text}")), "{shown}");
}
