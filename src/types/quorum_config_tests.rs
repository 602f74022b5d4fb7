//! Texts against those that ZooKeeper 3.9.5 prints (`QuorumMaj.toString`, `QuorumHierarchical.toString`,
//! `QuorumPeerConfig.writeDynamicConfig`), and back.

use super::*;

/// What was written in a file; what ZooKeeper makes of it, the last line without its version.
struct Printed {
    written: &'static str,
    lines: &'static [&'static str],
    version: &'static str,
}

const PRINTED: &[Printed] = &[
    Printed {
        written: "server.1=127.0.0.1:2888:3888\nserver.2=localhost:2889:3889:observer;2182\n\
                  server.3=zoo3.example.invalid:1:2:participant;127.0.0.1:2183\nversion=100000000",
        lines: &[
            "server.1=127.0.0.1:2888:3888:participant",
            "server.2=localhost:2889:3889:observer;0.0.0.0:2182",
            "server.3=zoo3.example.invalid:1:2:participant;127.0.0.1:2183",
        ],
        version: "100000000",
    },
    Printed {
        written: "server.1=[::1]:1:2;[::]:2181\nserver.2=[2001:db8::a:0:0:1]:1:2;[2001:DB8::1]:2181\n\
                  server.3=[::ffff:10.0.0.1]:1:2;localhost:2181\nserver.4=[fe80::1%lo]:1:2;0.0.0.0:4",
        lines: &[
            "server.1=[0:0:0:0:0:0:0:1]:1:2:participant;[0:0:0:0:0:0:0:0]:2181",
            "server.2=[2001:db8:0:0:a:0:0:1]:1:2:participant;[2001:db8:0:0:0:0:0:1]:2181",
            "server.3=10.0.0.1:1:2:participant;localhost:2181",
            "server.4=[fe80::1%lo]:1:2:participant;0.0.0.0:4",
        ],
        version: "0",
    },
    // The order is that of a hash table, not of the numbers.
    Printed {
        written: "server.10=a:1:2\nserver.20=b:1:2\nserver.30=c:1:2\nserver.1=e:1:2\nserver.255=g:1:2",
        lines: &[
            "server.1=e:1:2:participant",
            "server.20=b:1:2:participant",
            "server.10=a:1:2:participant",
            "server.30=c:1:2:participant",
            "server.255=g:1:2:participant",
        ],
        version: "0",
    },
    Printed {
        written: "server.1=a:1:2\nserver.-5=b:1:2:OBSERVER",
        lines: &["server.1=a:1:2:participant", "server.-5=b:1:2:observer"],
        version: "0",
    },
    Printed {
        written: "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2:observer\nserver.5=e:1:2\n\
                  group.1=1:3\ngroup.20=2\ngroup.3=5\nweight.3=0\nweight.5=4\nversion=2a",
        lines: &[
            "server.1=a:1:2:participant",
            "server.2=b:1:2:participant",
            "server.3=c:1:2:participant",
            "server.4=d:1:2:observer",
            "server.5=e:1:2:participant",
            "group.1=1:3",
            "group.3=5",
            "group.20=2",
            "weight.1=1",
            "weight.2=1",
            "weight.3=0",
            "weight.5=4",
        ],
        version: "2a",
    },
    Printed {
        written: "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=2:1",
        lines: &["server.1=a:1:2:participant", "server.2=b:1:2:participant", "group.1=1:2", "weight.1=1", "weight.2=1"],
        version: "0",
    },
    Printed {
        written: "server.1=zb:1:2|a:3:4;2181\nserver.2=127.0.0.1:5:6|127.0.0.1:3:4|[::1]:9:10:observer;1\n\
                  server.3=x:1:2:observer|y:3:4\nserver.4=a:1:2|a:1:2\nserver.5=a:1:2;",
        lines: &[
            "server.1=a:3:4|zb:1:2:participant;0.0.0.0:2181",
            "server.2=[0:0:0:0:0:0:0:1]:9:10|127.0.0.1:3:4|127.0.0.1:5:6:observer;0.0.0.0:1",
            "server.3=x:1:2|y:3:4:observer",
            "server.4=a:1:2:participant",
            "server.5=a:1:2:participant",
        ],
        version: "0",
    },
];

#[test]
fn texts_are_those_that_zookeeper_prints() {
    for row in PRINTED {
        let config = QuorumConfig::parse(row.written).unwrap();
        let printed = format!("{}\nversion={}", row.lines.join("\n"), row.version);
        assert_eq!(config.to_string(), printed);
        let mut sorted = row.lines.to_vec();
        sorted.sort_unstable();
        assert_eq!(config.dynamic_file_text(), sorted.join("\n"));
        let version = format!("version={}", row.version);
        sorted.push(&version);
        sorted.sort_unstable();
        assert_eq!(config.next_file_text(), sorted.join("\n"));
    }
}

/// Fifteen servers: the hash table has grown by then.
#[test]
fn the_order_of_a_larger_ensemble() {
    let written: Vec<String> = (1..=15).map(|i| format!("server.{}=h{i}:1:2", i * 7)).collect();
    let text = QuorumConfig::parse(&written.join("\n")).unwrap().to_string();
    let ids: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("server.")?.split_once('=').map(|(id, _)| id)).collect();
    assert_eq!(ids, ["98", "35", "70", "7", "105", "42", "77", "14", "49", "84", "21", "56", "91", "28", "63"]);
}

#[test]
fn every_printed_text_reads_back_equal_and_is_printed_again() {
    for row in PRINTED {
        let config = QuorumConfig::parse(row.written).unwrap();
        for text in [config.to_string(), config.next_file_text()] {
            let back = QuorumConfig::parse(&text).unwrap();
            assert_eq!(back.membership.members, config.membership.members);
            assert_eq!(back.version, config.version);
            assert_eq!(back.to_string(), config.to_string());
        }
    }
}

#[test]
fn lines_as_any_properties_text() {
    let config = QuorumConfig::parse("# a comment\n\n  server.1 : a:1:2\r\nserver.2 b:1:2\nversion = 10").unwrap();
    assert_eq!((config.membership.voters(), config.version), (2, 16));
}

#[test]
fn what_is_no_configuration() {
    for wrong in [
        "tickTime=3",
        "version=xyz",
        "version=ffffffffffffffff",
        "server.1=a",
        "server.=a:1:2",
        "server.1=a:1:2;:7",
        "server.1=a:1:2\nweight.1=2",
        "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1",
        "server",
    ] {
        assert!(QuorumConfig::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn versions_in_file_names() {
    for (name, version) in [
        ("/etc/zoo.cfg.dynamic.100000000", Some(0x1_0000_0000)),
        ("zoo.cfg.dynamic", None),
        ("/etc/zk.d/members", None),
        ("members", None),
        ("members.bad", Some(0xbad)),
    ] {
        assert_eq!(QuorumConfig::version_in_file_name(name), version, "{name}");
    }
}
