use super::*;
use crate::config::known_keys::{KNOWN_KEYS, TLS_KEYS};
use crate::types::ServerId;
use proptest::prelude::*;
use std::collections::HashMap;

/// Loads with files that exist only here; the config file is called `zoo.cfg`.
pub(in crate::config) fn load_files(properties: &str, files: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let args = properties.split_whitespace().chain(["zoo.cfg"]);
    load_args(args, files)
}

fn load_args<'a>(args: impl IntoIterator<Item = &'a str>, files: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let command = crate::config::parse_args(args.into_iter().map(str::to_owned)).unwrap();
    let crate::config::Command::Serve(line) = command else {
        panic!("{command:?}");
    };
    let files: HashMap<PathBuf, Vec<u8>> =
        files.iter().map(|(name, text)| (PathBuf::from(name), text.as_bytes().to_vec())).collect();
    load(&line, &mut |path| files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()))
}

fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    load_files("", &[("zoo.cfg", text)])
}

fn used(text: &str) -> Settings {
    load_text(&format!("dataDir=/d\n{text}")).unwrap().settings
}

fn warnings(text: &str) -> Vec<String> {
    let loaded = load_text(&format!("dataDir=/d\n{text}")).unwrap();
    loaded.warnings.iter().map(Warning::to_string).collect()
}

fn refusal(text: &str) -> String {
    load_text(&format!("dataDir=/d\n{text}")).unwrap_err().to_string()
}

#[test]
fn zookeepers_sample_file_and_its_defaults() {
    let text = "# The number of milliseconds of each tick\ntickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/tmp/zookeeper\n\
                clientPort=2181\n#maxClientCnxns=60\n#autopurge.snapRetainCount=3\n";
    let loaded = load_text(text).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let s = loaded.settings;
    assert_eq!(s.initial_config, text);
    assert_eq!(s.data_dir, s.data_log_dir);
    assert_eq!((s.client_port, s.client_host), (Some(2181), None));
    assert_eq!((s.tick_time_ms, s.min_session_timeout_ms, s.max_session_timeout_ms), (2000, 4000, 40000));
    assert_eq!((s.max_client_cnxns, s.max_cnxns), (Some(60), None));
    assert_eq!(s.client_port_listen_backlog, -1);
    assert_eq!((s.jute_maxbuffer_bytes, s.jute_maxbuffer_extra_bytes), (0xfffff, 0xfffff));
    assert_eq!((s.snap_count, s.pre_alloc_bytes), (100_000, 64 << 20));
    assert_eq!((s.snap_size_limit_bytes, s.txn_log_size_limit_bytes), (Some(4 << 30), None));
    assert_eq!((s.autopurge_interval_hours, s.autopurge_snap_retain_count), (None, 3));
    assert_eq!(s.global_outstanding_limit, 1000);
    assert_eq!(s.snapshot_compression, SnapshotCompression::None);
    assert_eq!(s.digest_algorithm, DigestAlgorithm::Sha1);
    assert!(s.force_sync && s.digest_enabled && s.serialize_last_processed_zxid && s.digest_auth_enabled);
    assert!(s.data_dir_autocreate && s.db_autocreate && s.close_session_txn_enabled);
    assert!(!s.extended_types_enabled && !s.enforce_quota && !s.skip_acl && !s.reconfig_enabled);
    assert_eq!((s.container_check_interval_ms, s.container_max_per_minute), (60_000, 10_000));
    assert_eq!(s.container_max_never_used_interval_ms, None);
    assert_eq!(s.request_throttle_max_requests, None);
    assert_eq!((s.connection_throttle_tokens, s.connection_throttle_freeze_time_ms), (None, None));
    assert_eq!(s.sessionless_cnxn_timeout_ms, 10_000);
    assert_eq!(s.four_letter_whitelist, FourLetterWhitelist::Words(vec!["srvr".to_owned()]));
    assert_eq!(s.cores, Cores { workers: None, pin: PinCores::Auto, list: vec![] });
    assert_eq!(s.kept.get("initLimit"), Some(&Value::Int(10)));
}

#[test]
fn without_file() {
    let s = load_args([], &[]).unwrap().settings;
    assert_eq!((s.client_port, s.data_dir), (Some(2181), PathBuf::from("./data")));
    assert_eq!((s.max_client_cnxns, s.tick_time_ms), (Some(60), 3000));
    let s = load_args(["2182", "/d", "500"], &[]).unwrap().settings;
    assert_eq!((s.client_port, s.tick_time_ms, s.max_client_cnxns), (Some(2182), 500, None));
    let s = load_args(["2182", "/d", "500", "7"], &[]).unwrap().settings;
    assert_eq!(s.max_client_cnxns, Some(7));
    let wrong = load_args(["port", "/d"], &[]).unwrap_err().to_string();
    assert!(wrong.starts_with("command line: clientPort:"), "{wrong}");
    let missing = load_args(["nowhere.cfg"], &[]).unwrap_err().to_string();
    assert!(missing.starts_with("nowhere.cfg: cannot be read"), "{missing}");
}

#[test]
fn the_file_overrides_the_command_line_as_in_java() {
    let files = [("zoo.cfg", "dataDir=/d\nsnapCount=300")];
    let s = load_files("-Dzookeeper.snapCount=200 -Dzookeeper.maxCnxns=9", &files).unwrap().settings;
    assert_eq!((s.snap_count, s.max_cnxns), (300, Some(9)));
}

#[test]
fn process_properties() {
    let files = [("zoo.cfg", "dataDir=/d")];
    let loaded = load_files(
        "-Djute.maxbuffer=0x3fffff -Dznode.container.checkIntervalMs=500 -Dreadonlymode.enabled=true \
         -Dcores.workers=3 -Dfsync.warningthresholdms=20 -Dstall.warningthresholdms=50",
        &files,
    )
    .unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let s = loaded.settings;
    assert_eq!((s.jute_maxbuffer_bytes, s.jute_maxbuffer_extra_bytes), (0x3fffff, 0x3fffff));
    assert_eq!((s.container_check_interval_ms, s.fsync_warning_threshold_ms), (500, 20));
    assert_eq!(s.cores.workers, Some(3));
    assert_eq!((s.stall_warning_threshold_ms, s.request_warning_threshold_ms), (50, Some(1000)));
    assert!(s.four_letter_whitelist.allows("isro") && !s.four_letter_whitelist.allows("ruok"));
    // In a file they are no use, in Java either; and some belong into the file only.
    let said = warnings("jute.maxbuffer=5");
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("-Djute.maxbuffer=5"), "{said:?}");
    let loaded =
        load_files("-Dzookeeper.tickTime=1 -Dzookeeper.jute.maxbuffer=1 -Dfile.encoding=x -DmaxCnxns=1", &files)
            .unwrap();
    assert_eq!(loaded.warnings.len(), 4);
    assert_eq!((loaded.settings.tick_time_ms, loaded.settings.max_cnxns), (3000, None));
    let wrong = load_files("-Dzookeeper.snapCount=many", &files).unwrap_err().to_string();
    assert!(wrong.starts_with("command line: zookeeper.snapCount: a whole number"), "{wrong}");
}

#[test]
fn wrong_values_are_named_with_file_and_line() {
    for (text, expected) in [
        ("tickTime=2000ms", "zoo.cfg:2: tickTime: a whole number from 1"),
        ("tickTime=0", "zoo.cfg:2: tickTime:"),
        ("\nreconfigEnabled=yes", "zoo.cfg:3: reconfigEnabled: true or false expected, found `yes`"),
        ("clientPort=99999", "zoo.cfg:2: clientPort:"),
        ("electionAlg=1", "zoo.cfg:2: electionAlg:"),
        ("minSessionTimeout=9\nmaxSessionTimeout=8", "zoo.cfg:2: minSessionTimeout:"),
        ("maxSessionTimeout=8", "zoo.cfg:2: maxSessionTimeout:"),
        ("clientPortAddress=h", "zoo.cfg:2: clientPortAddress:"),
        ("secureClientPort=2281", "zoo.cfg:2: secureClientPort: this version has no TLS"),
        ("snapshot.compression.method=zip", "zoo.cfg:2: snapshot.compression.method: one of"),
        ("enforce.auth.enabled=true", "zoo.cfg:2: enforce.auth.enabled:"),
        ("enforce.auth.enabled=true\nenforce.auth.schemes=sasl", "zoo.cfg:3: enforce.auth.schemes:"),
        ("sessionRequireClientSASLAuth=true", "zoo.cfg:2: sessionRequireClientSASLAuth:"),
        ("DigestAuthenticationProvider.digestAlg=X", "zoo.cfg:2: DigestAuthenticationProvider.digestAlg:"),
        ("cores.workers=0", "zoo.cfg:2: cores.workers:"),
        ("cores.list=3-1", "zoo.cfg:2: cores.list:"),
        ("cores.list=1,1", "zoo.cfg:2: cores.list:"),
        ("stall.warningthresholdms=9", "zoo.cfg:2: stall.warningthresholdms:"),
        ("request.warningthresholdms=-2", "zoo.cfg:2: request.warningthresholdms:"),
        ("request.warningthresholdms=1s", "zoo.cfg:2: request.warningthresholdms:"),
        ("admin.serverPort=no", "zoo.cfg:2: admin.serverPort:"),
        ("a=\\u00", "zoo.cfg:2: \\u must be followed"),
        ("standaloneEnabled=false", "zoo.cfg:2: standaloneEnabled:"),
    ] {
        let said = refusal(text);
        assert!(said.starts_with(expected), "{text}: {said}");
    }
    assert_eq!(load_text("clientPort=1").unwrap_err().to_string(), "zoo.cfg: dataDir is not set");
}

#[test]
fn one_warning_per_key_without_effect() {
    assert!(
        warnings("initLimit=5\nsslQuorum=true\nleaderServes=no\nadmin.enableServer=false\nmaxBatchSize=1000")
            .is_empty()
    );
    for (text, expected) in [
        ("tickTme=3", "zoo.cfg:2: tickTme is unknown and ignored"),
        (
            "zookeeper.snapCount=3",
            "zoo.cfg:2: zookeeper.snapCount is unknown and ignored (in a file it is called snapCount)",
        ),
        ("nio.numWorkerThreads=4", "zoo.cfg:2: nio.numWorkerThreads is ignored: one pinned thread"),
        ("admin.enableServer=true", "zoo.cfg:2: admin.enableServer has no effect yet"),
        ("authProvider.1=org.example.Mine", "zoo.cfg:2: authProvider.1 has no effect yet"),
        ("ssl.quorum.keyStore.location=/k", "zoo.cfg:2: ssl.quorum.keyStore.location has no effect yet"),
        ("metricsProvider.something=1", "zoo.cfg:2: metricsProvider.something has no effect yet"),
        ("autopurge.snapRetainCount=1", "zoo.cfg:2: autopurge.snapRetainCount: 3 is used instead of 1"),
        ("server.1=localhost:2888:3888", "zoo.cfg:2: only one server is named"),
    ] {
        let said = warnings(text);
        assert_eq!(said.len(), 1, "{text}: {said:?}");
        assert!(said[0].starts_with(expected), "{said:?}");
    }
}

#[test]
fn settings_that_are_more_than_their_text() {
    let s = used(
        "requestThrottleLimit=5\nsnapSizeLimitInKb=0\nmaxClientCnxns=-1\nsnapCount=0x10\nforceSync=no\nskipACL=yes",
    );
    assert_eq!((s.request_throttle_max_requests, s.snap_size_limit_bytes), (Some(5), None));
    assert_eq!((s.max_client_cnxns, s.snap_count), (None, 16));
    assert!(!s.force_sync && s.skip_acl);
    let s = used(
        "connection_throttle_tokens=10\nconnection_throttle_weight_enabled=true\nconnection_throttle_local_session_weight=5",
    );
    assert_eq!((s.connection_throttle_tokens, s.connection_throttle_fill_count), (Some(50), 5));
    assert_eq!((s.connection_throttle_weight_local, s.connection_throttle_weight_renew), (5, 5));
    assert_eq!(used("request.warningthresholdms=-1").request_warning_threshold_ms, None);
    assert_eq!(used("request.warningthresholdms=0").request_warning_threshold_ms, Some(0));
    let s = used("4lw.commands.whitelist=stat, ruok ,\ncores.list=8,0-2\njute.maxbuffer.extrasize=10");
    assert_eq!(s.four_letter_whitelist, FourLetterWhitelist::Words(["ruok", "srvr", "stat"].map(str::to_owned).into()));
    assert_eq!((s.cores.list, s.jute_maxbuffer_extra_bytes), (vec![0, 1, 2, 8], 1024));
    assert_eq!(used("4lw.commands.whitelist=*").four_letter_whitelist, FourLetterWhitelist::All);
    let s = used(
        "enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip\nDigestAuthenticationProvider.digestAlg=sha-256",
    );
    assert_eq!(s.enforce_auth_schemes, ["digest", "ip"]);
    assert_eq!(s.digest_algorithm, DigestAlgorithm::Sha256);
}

#[test]
fn one_voter_runs_standalone_with_its_own_client_address() {
    let files = |text| [("zoo.cfg", text), ("/d/myid", "4\n")];
    let loaded = load_files("", &files("dataDir=/d\nserver.4=a:1:2;10.0.0.1:2222")).unwrap();
    let s = loaded.settings;
    assert_eq!((s.client_port, s.client_host.as_deref()), (Some(2222), Some("10.0.0.1")));
    assert_eq!((s.my_id, s.membership.voters()), (Some(ServerId(4)), 1));
    let clash = load_files("", &files("dataDir=/d\nclientPort=1\nserver.4=a:1:2;2222")).unwrap_err();
    assert!(clash.to_string().contains("differ"));
}

#[test]
fn the_dynamic_file() {
    let dynamic = "dataDir=/d\nclientPort=2181\ndynamicConfigFile=/d/dyn";
    let s = load_files("", &[("zoo.cfg", dynamic), ("/d/dyn", "server.1=a:1:2")]).unwrap().settings;
    assert_eq!(s.membership.voters(), 1);
    let said = |files: &[(&str, &str)]| load_files("", files).unwrap_err().to_string();
    assert!(said(&[("zoo.cfg", dynamic), ("/d/dyn", "version=1")]).starts_with("/d/dyn:1: version:"));
    assert!(said(&[("zoo.cfg", dynamic)]).starts_with("/d/dyn: cannot be read"));
    let both = format!("{dynamic}\nserver.1=a:1:2");
    assert!(said(&[("zoo.cfg", &both)]).starts_with("zoo.cfg:4: server.1: must stand in the dynamic file"));
}

/// Values that are nearly right, for every key there is.
fn odd_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "-?[0-9]{1,25}",
        "(true|FALSE|yes|no|auto|\\*|gz|0x[0-9a-f]{1,20}|#|-|[0-9],[0-9]-[0-9]{1,6})",
        "[a-z\\[\\]:;|.0-9-]{0,30}",
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn any_values_are_used_or_refused_with_their_place(
        lines in proptest::collection::vec((0usize..1000, odd_value()), 0..8),
        my_id in "[0-9]{1,2}\\n?|",
    ) {
        let rows: Vec<_> = KNOWN_KEYS.iter().chain(TLS_KEYS).collect();
        let mut text = "dataDir=/d\n".to_owned();
        for (index, value) in lines {
            let key = rows[index % rows.len()].name.replace('*', "1");
            let value = value.replace(['\n', '\r', '\\'], " ");
            text.push_str(&format!("{key}={value}\n"));
        }
        match load_files("", &[("zoo.cfg", &text), ("/d/myid", &my_id)]) {
            Err(why) => prop_assert!(!why.reason.is_empty()),
            Ok(loaded) => {
                let s = loaded.settings;
                prop_assert!(s.min_session_timeout_ms <= s.max_session_timeout_ms);
                prop_assert!(s.tick_time_ms > 0 && s.snap_count >= 2 && s.jute_maxbuffer_extra_bytes >= 1024);
                let voters = s.membership.voters();
                prop_assert!(voters <= 1 || s.ensemble.is_some());
                if let Some(ensemble) = s.ensemble {
                    prop_assert!(ensemble.config.membership.members.contains_key(&ensemble.my_id));
                    prop_assert!(ensemble.init_limit_ticks > 0 && ensemble.sync_limit_ticks > 0);
                }
            }
        }
    }
}
