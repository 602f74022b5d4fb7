//! Configurations of ensembles: what is used, what is refused, what is only said.

use super::*;
use crate::config::Loaded;
use crate::config::known_keys::{KNOWN_KEYS, Kind, Place, Standing};
use crate::config::load::tests::load_files;

const THREE: &str = "dataDir=/d\nserver.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n";
const LIMITS: &str = "initLimit=5\nsyncLimit=2\n";

fn three(more: &str) -> String {
    format!("{THREE}{LIMITS}{more}")
}

fn load(text: &str, files: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let mut all = vec![("zoo.cfg", text)];
    all.extend_from_slice(files);
    load_files("", &all)
}

fn ensemble_of(text: &str, files: &[(&str, &str)]) -> EnsembleSettings {
    load(text, files).unwrap().settings.ensemble.unwrap()
}

fn refusal(text: &str, files: &[(&str, &str)]) -> String {
    load(text, files).unwrap_err().to_string()
}

const MY_ID: (&str, &str) = ("/d/myid", "2\n");

#[test]
fn defaults_of_an_ensemble() {
    let loaded = load(&three(""), &[MY_ID]).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let e = loaded.settings.ensemble.unwrap();
    assert_eq!((e.my_id, e.role), (ServerId(2), Role::Participant));
    assert_eq!((e.config.membership.voters(), e.config.version), (3, 0));
    assert_eq!((e.last_seen, e.static_file, e.dynamic_file), (None, "zoo.cfg".into(), None));
    assert_eq!((e.init_limit_ticks, e.sync_limit_ticks, e.connect_to_learner_master_limit_ticks), (5, 2, 5));
    assert_eq!((e.cnx_timeout_ms, e.quorum_cnxn_timeout_ms), (5000, 6000));
    assert_eq!((e.notification_interval_ms_min, e.notification_interval_ms_max), (200, 60_000));
    assert_eq!((e.finalize_wait_ms, e.election_port_bind_retry_max), (200, Some(3)));
    assert!(!e.quorum_listen_on_all_ips && !e.tcp_keep_alive && !e.multi_address_enabled);
    assert_eq!(e.multi_address_reachability_check_timeout_ms, 1000);
    assert!(e.leader_serves && e.standalone_enabled && e.multi_address_reachability_check_enabled);
    assert_eq!((e.epoch_wait_ms_max, e.snap_syncs_max, e.diff_syncs_max), (None, 10, 100));
    assert!(e.leader_nodelay && e.follower_nodelay && e.observer_sync_enabled);
    assert_eq!((e.commit_log_count, e.snapshot_size_factor, e.force_snapshot_sync), (500, Some(0.33), false));
    assert_eq!((e.leader_connect_retry_delay_ms, e.observer_master_port), (100, None));
    assert_eq!((e.observer_reconnect_delay_ms, e.observer_election_delay_ms_max), (0, 200));
    assert_eq!((e.observer_master_bytes_max, e.oracle_path), (33_554_432, None));
    assert!(!e.local_sessions_enabled && !e.local_sessions_upgrading_enabled && !e.eager_acl_check_enabled);
}

#[test]
fn settings_that_are_more_than_their_text() {
    let text = three(
        "tickTime=1000\nconnectToLearnerMasterLimit=3\nquorumCnxnTimeoutMs=700\nelectionPortBindRetry=0\ncommitLogCount=7\n\
         snapshotSizeFactor=-1\nleader.maxTimeToWaitForEpoch=0\nobserverMasterPort=2191\nleaderServes=no\n\
         fastleader.maxNotificationInterval=50\nobserver.syncEnabled=false\noraclePath=/o\nlocalSessionsEnabled=true",
    );
    let e = ensemble_of(&text, &[MY_ID]);
    assert_eq!((e.connect_to_learner_master_limit_ticks, e.quorum_cnxn_timeout_ms), (3, 700));
    assert_eq!((e.election_port_bind_retry_max, e.commit_log_count, e.snapshot_size_factor), (None, 500, None));
    assert_eq!((e.epoch_wait_ms_max, e.observer_master_port), (Some(0), Some(2191)));
    assert_eq!((e.notification_interval_ms_min, e.notification_interval_ms_max), (200, 200));
    assert!(!e.leader_serves && !e.observer_sync_enabled && e.local_sessions_enabled);
    assert_eq!(e.oracle_path, Some("/o".into()));
    assert!(!ensemble_of(&three("syncEnabled=false"), &[MY_ID]).observer_sync_enabled);
    assert!(ensemble_of(&three("syncEnabled=false\nobserver.syncEnabled=true"), &[MY_ID]).observer_sync_enabled);
    assert_eq!(ensemble_of(&three("tickTime=1000"), &[MY_ID]).quorum_cnxn_timeout_ms, 2000);
}

#[test]
fn what_an_ensemble_needs() {
    assert!(refusal(THREE, &[]).contains("initLimit is not set"));
    assert!(refusal(&format!("{THREE}initLimit=5"), &[MY_ID]).contains("syncLimit is not set"));
    assert!(refusal(&three(""), &[]).contains("no myid file"));
    assert!(refusal(&three(""), &[("/d/myid", "one\n")]).starts_with("/d/myid: a server id expected"));
    let stranger = refusal(&three(""), &[("/d/myid", "4")]);
    assert_eq!(stranger, "zoo.cfg:2: myid is 4, but there is no line server.4");
    assert!(refusal(&three("group.1=1:2\n"), &[MY_ID]).contains("server 3 is in no group"));
    assert!(refusal("dataDir=/d\nserver.x=a:1:2", &[]).starts_with("zoo.cfg:2: server.x:"));
    assert!(refusal("dataDir=/d\nserver.1=a:1:2:observer", &[]).contains("observers need"));
    let two_addresses = three("server.4=d:1:2|e:1:2\n");
    assert!(refusal(&two_addresses, &[MY_ID]).contains("server.4 has several addresses"));
    let e = ensemble_of(&format!("{two_addresses}multiAddress.enabled=true"), &[MY_ID]);
    assert!(e.multi_address_enabled);
}

#[test]
fn what_this_version_cannot_do_is_refused_only_in_an_ensemble() {
    for key in [
        "sslQuorum",
        "portUnification",
        "quorum.auth.enableSasl",
        "quorum.auth.learnerRequireSasl",
        "quorum.auth.serverRequireSasl",
    ] {
        let said = refusal(&three(&format!("{key}=true")), &[MY_ID]);
        assert!(said.starts_with(&format!("zoo.cfg:7: {key}: this version has no")), "{said}");
        assert!(load(&format!("dataDir=/d\n{key}=true"), &[]).unwrap().settings.ensemble.is_none());
    }
}

/// Every key of the table that members do not heed is told of, by one warning each, and nothing else is.
#[test]
fn what_members_do_not_heed_is_told_to_members_only() {
    let mut told = 0;
    for row in KNOWN_KEYS.iter().filter(|row| row.place != Place::Process) {
        let reason = match row.standing {
            Standing::EnsembleIgnored(reason) | Standing::EnsembleNotYet(reason) => reason,
            Standing::Ensemble | Standing::Used | Standing::EnsembleRefused(_) => "",
            Standing::Ignored(_) | Standing::NotYet(_) => continue,
        };
        let other = match (row.kind, row.default) {
            (Kind::Bool, "true") => "false",
            (Kind::Bool, _) => "true",
            (Kind::YesNo, "yes") => "no",
            (Kind::Int { min, max }, _) if min < max => "7",
            (Kind::Real { min, .. }, _) if min < 0.0 => "7",
            (Kind::Text, _) if !reason.is_empty() => "other",
            _ => continue,
        };
        let line = format!("{}={other}\n", row.name);
        let said = |text: &str| -> Vec<String> {
            let warnings = load(text, &[MY_ID]).map(|loaded| loaded.warnings).unwrap_or_default();
            warnings
                .iter()
                .filter(|warning| warning.text.starts_with(row.name))
                .map(|warning| warning.text.clone())
                .collect()
        };
        assert_eq!(said(&format!("dataDir=/d\n{line}")), Vec::<String>::new(), "alone: {}", row.name);
        let said = said(&three(&line));
        if reason.is_empty() {
            assert_eq!(said, Vec::<String>::new());
        } else {
            assert!(said.len() == 1 && said[0].ends_with(reason), "{}: {said:?}", row.name);
            told += 1;
        }
    }
    assert!(told > 10, "{told}");
    assert!(load(&three("leaderServes=yes\nreconfigEnabled=false\n"), &[MY_ID]).unwrap().warnings.is_empty());
}

#[test]
fn the_member_line_decides_the_role() {
    let text = three("server.4=d:1:2:observer\n");
    let warnings = |more: &str, id| {
        let loaded = load(&format!("{text}{more}"), &[("/d/myid", id)]).unwrap();
        let said: Vec<String> = loaded.warnings.iter().map(|warning| warning.to_string()).collect();
        (loaded.settings.ensemble.unwrap().role, said)
    };
    assert_eq!(warnings("peerType=observer", "4"), (Role::Observer, vec![]));
    assert_eq!(warnings("", "1"), (Role::Participant, vec![]));
    let (role, said) = warnings("peerType=observer", "1");
    assert_eq!(role, Role::Participant);
    assert!(said[0].starts_with("zoo.cfg:8: peerType: participant is used instead of observer"), "{said:?}");
    let (role, said) = warnings("", "4");
    assert_eq!((role, said.len()), (Role::Observer, 1));
}

#[test]
fn one_voter_alone_is_an_ensemble_if_asked_for() {
    let text = format!("dataDir=/d\nserver.2=a:1:2;2222\n{LIMITS}");
    assert_eq!(load(&text, &[MY_ID]).unwrap().settings.ensemble, None);
    let settings = load(&format!("{text}standaloneEnabled=false"), &[MY_ID]).unwrap().settings;
    assert!(!settings.ensemble.unwrap().standalone_enabled);
    assert_eq!(settings.client_port, Some(2222));
}

#[test]
fn versions_and_files_of_a_reconfigured_ensemble() {
    let dynamic = "server.1=a:1:2:participant\nserver.2=b:1:2:participant;0.0.0.0:2182";
    let text = format!(
        "dataDir=/d\n{LIMITS}clientPortAddress=0.0.0.0\nclientPort=2182\ndynamicConfigFile=/d/zoo.cfg.dynamic.100000003\n"
    );
    let files = [MY_ID, ("/d/zoo.cfg.dynamic.100000003", dynamic)];
    let settings = load(&text, &files).unwrap().settings;
    assert_eq!((settings.client_port, settings.client_host), (Some(2182), None));
    let e = settings.ensemble.unwrap();
    assert_eq!((e.config.version, e.last_seen), (0x1_0000_0003, None));
    assert_eq!(e.dynamic_file, Some("/d/zoo.cfg.dynamic.100000003".into()));
    assert_eq!(e.config.to_string(), format!("{dynamic}\nversion=100000003"));
    let next = format!("{dynamic}\nserver.3=c:1:2:observer\nversion=100000009");
    let with_next = [files[0], files[1], ("zoo.cfg.dynamic.next", &next)];
    let last_seen = ensemble_of(&text, &with_next).last_seen.unwrap();
    assert_eq!((last_seen.version, last_seen.membership.observers()), (0x1_0000_0009, 1));
    assert_eq!(last_seen.next_file_text(), next);
    let broken = [files[0], files[1], ("zoo.cfg.dynamic.next", "tickTime=1")];
    assert!(refusal(&text, &broken).starts_with("zoo.cfg.dynamic.next: tickTime:"));
    let clash = text.replace("clientPort=2182", "clientPort=2183");
    assert!(refusal(&clash, &files).contains("differ"));
}
