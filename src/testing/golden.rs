//! Files that Apache ZooKeeper wrote (`golden/generate.py`), read by us and compared with what its own tools print, then
//! written again byte for byte.

use base64::Engine;
use ringkeeper::io::real_disk::RealDisk;
use ringkeeper::message::{SnapshotNode, Txn, TxnBody};
use ringkeeper::storage::txnlog_format::{FileHeader, push_record};
use ringkeeper::storage::{
    DataDirOptions, DataDirs, LogReader, RestoreOptions, RestoreSink, SnapshotOptions, SnapshotSink, SnapshotSource,
    SnapshotTrailer, list_snapshots, load_snapshot, restore, write_snapshot,
};
use ringkeeper::types::{Acl, AclList, OpCode, SessionId, StatPersisted, Zxid};
use ringkeeper::wire::txn;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

const VERSIONS: [&str; 2] = ["3.9.5", "3.8.5"];

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testing/golden").join(version)
}

/// Files of a kind and what Java's tool printed for each.
fn files(version: &str, kind: &str) -> Vec<(PathBuf, String)> {
    let mut names: Vec<String> = fs::read_dir(golden(version))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(kind) && !name.ends_with(".txt"))
        .collect();
    names.sort();
    assert!(names.len() >= 6, "{version} {kind}: {names:?}");
    let with_text = |name: String| {
        let path = golden(version).join(&name);
        let text = fs::read(golden(version).join(name + ".txt")).unwrap();
        (path, String::from_utf8_lossy(&text).into_owned())
    };
    names.into_iter().map(with_text).collect()
}

/// A copy of some files as a data directory of its own.
fn data_dir(files: &[PathBuf]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("version-2");
    fs::create_dir(&directory).unwrap();
    for file in files {
        fs::copy(file, directory.join(file.file_name().unwrap())).unwrap();
    }
    root
}

fn read_log(file: &Path) -> Vec<(Txn, Vec<u8>)> {
    let root = data_dir(&[file.to_owned()]);
    let mut reader = LogReader::open(&RealDisk::shared(), &root.path().join("version-2"), Zxid(0)).unwrap();
    let mut all = Vec::new();
    while let Some(record) = reader.read_next().unwrap() {
        all.push((record.txn, record.entry.to_vec()));
    }
    all
}

#[test]
fn every_entry_of_a_java_log_is_read_as_java_reads_it() {
    for version in VERSIONS {
        for (path, printed) in files(version, "log.") {
            // 3.8 spells this one differently.
            let printed = printed.replace("createTtl", "createTTL");
            let mut expected = printed.split("UTC session ").skip(1);
            let txns = read_log(&path);
            for (txn, _) in &txns {
                let line = expected.next().expect("Java printed another entry");
                let line = line.split("\nEOF reached").next().expect("a split has a first part");
                // What is left behind the last newline is the date of the next entry.
                let is_last = expected.clone().next().is_none();
                let line = if is_last { line } else { line.rsplit_once('\n').unwrap().0 };
                assert_same_line(txn, line);
            }
            assert_eq!(expected.next(), None, "{}", path.display());
            assert!(printed.contains(&format!("EOF reached after {} txns", txns.len())));
        }
    }
}

/// `line` ends in the newline and date of the next entry, or in the closing words.
fn assert_same_line(txn: &Txn, line: &str) {
    let ours = printed(txn);
    if let TxnBody::Multi(entries) = &txn.body {
        // Java prints the entries' raw bytes; their names must do.
        let (head, rest) = line.split_once("multi ").unwrap();
        assert_eq!(format!("{head}multi "), ours);
        let names: Vec<&str> = rest.split(';').filter_map(|part| part.split_once(':').map(|(name, _)| name)).collect();
        let our_names: Vec<&str> = entries.iter().map(|entry| java_name(&entry.body)).collect();
        assert_eq!(names, our_names);
        return;
    }
    assert_eq!(line, ours);
}

/// As `TxnLogToolkit` prints it, from the session on.
fn printed(txn: &Txn) -> String {
    let header = &txn.header;
    let name = java_name(&txn.body);
    let body = match &txn.body {
        TxnBody::Create { path, data, acl, ephemeral, parent_cversion, .. } => {
            format!("{path},{},{},{ephemeral},{parent_cversion}", text(data), acl_lines(acl))
        }
        TxnBody::CreateContainer { path, data, acl, parent_cversion } => {
            format!("{path},{},{},{parent_cversion}", text(data), acl_lines(acl))
        }
        TxnBody::CreateTtl { path, data, acl, parent_cversion, ttl_ms } => {
            format!("{path},{},{},{parent_cversion},{ttl_ms}", text(data), acl_lines(acl))
        }
        TxnBody::Delete { path, .. } => format!("'{path}"),
        TxnBody::SetData { path, data, version, .. } => format!("{path},{},{version}", text(data)),
        TxnBody::SetAcl { path, acl, version } => {
            let entries: Vec<String> = acl
                .iter()
                .flatten()
                .map(|acl| format!("s{{{},s{{'{},'{}}}}}", acl.perms, acl.id.scheme, acl.id.id))
                .collect();
            format!("'{path},v{{{}}},{version}", entries.join(","))
        }
        TxnBody::CreateSession { timeout_ms } => timeout_ms.to_string(),
        TxnBody::CloseSession { paths: None } => String::new(),
        TxnBody::CloseSession { paths: Some(paths) } => {
            let paths: Vec<String> = paths.iter().map(|path| format!("'{path}")).collect();
            format!("v{{{}}}", paths.join(","))
        }
        TxnBody::Error(code) => code.to_string(),
        TxnBody::Multi(_) => String::new(),
        TxnBody::Check { .. } => panic!("only inside a multi"),
    };
    format!("{:#x} cxid {:#x} zxid {:#x} {name} {body}", header.session.0, header.cxid, header.zxid.0)
}

fn java_name(body: &TxnBody) -> &'static str {
    match body.op_code() {
        OpCode::Create => "create",
        OpCode::Create2 => "create2",
        OpCode::CreateContainer => "createContainer",
        OpCode::CreateTtl => "createTTL",
        OpCode::Delete => "delete",
        OpCode::DeleteContainer => "deleteContainer",
        OpCode::SetData => "setData",
        OpCode::SetAcl => "setACL",
        OpCode::Check => "check",
        OpCode::Multi => "multi",
        OpCode::CreateSession => "createSession",
        OpCode::CloseSession => "closeSession",
        OpCode::Error => "error",
        other => panic!("{other:?} in a log"),
    }
}

fn text(data: &Option<Vec<u8>>) -> String {
    String::from_utf8_lossy(data.as_deref().unwrap_or_default()).into_owned()
}

fn acl_lines(acl: &Option<Vec<Acl>>) -> String {
    let entries: Vec<String> =
        acl.iter().flatten().map(|acl| format!("{},s{{'{},'{}}}\n", acl.perms, acl.id.scheme, acl.id.id)).collect();
    format!("[{}]", entries.join(", "))
}

#[test]
fn every_java_log_is_written_again_byte_for_byte() {
    let mut kinds = std::collections::HashSet::new();
    for version in VERSIONS {
        for (path, _) in files(version, "log.") {
            let mut again = FileHeader::OURS.as_bytes().to_vec();
            for (txn, entry) in read_log(&path) {
                let mut encoded = Vec::new();
                txn::encode(&txn.header, &txn.body, txn.digest.as_ref(), &mut encoded);
                assert_eq!(encoded, entry, "{} {:?}", path.display(), txn);
                push_record(&mut again, &encoded);
                let is_without_list = matches!(txn.body, TxnBody::CloseSession { paths: None });
                kinds.insert((java_name(&txn.body), is_without_list, txn.digest.is_some()));
            }
            let written = fs::read(&path).unwrap();
            again.resize(written.len(), 0);
            assert!(again == written, "{}", path.display());
        }
    }
    for kind in [
        ("create2", false, true),
        ("deleteContainer", false, true),
        ("createTTL", false, true),
        ("closeSession", true, true),
        ("closeSession", false, false),
        ("error", false, false),
        ("multi", false, true),
    ] {
        assert!(kinds.contains(&kind), "the golden files hold no {kind:?}: {kinds:?}");
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    path: String,
    data: Option<Vec<u8>>,
    acl_key: i64,
    stat: StatPersisted,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Content {
    sessions: Vec<(SessionId, i32)>,
    acls: Vec<(i64, Vec<Acl>)>,
    nodes: Vec<Node>,
    trailer: SnapshotTrailer,
    replayed: Vec<Zxid>,
}

impl SnapshotSink for Content {
    fn begin(&mut self) {
        *self = Content::default();
    }
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.push((session, timeout_ms));
    }
    fn acl(&mut self, key: i64, list: AclList) {
        self.acls.push((key, list.to_vec()));
    }
    fn node(&mut self, node: SnapshotNode<'_>) -> Result<(), &'static str> {
        self.nodes.push(Node {
            path: node.path.to_owned(),
            data: node.data.map(<[u8]>::to_vec),
            acl_key: node.acl_key,
            stat: node.stat,
        });
        Ok(())
    }
}

impl RestoreSink for Content {
    fn snapshot_done(&mut self, _: Zxid, trailer: &SnapshotTrailer) {
        self.trailer = *trailer;
    }
    fn txn(&mut self, txn: Txn, _: &[u8]) {
        self.replayed.push(txn.header.zxid);
    }
}

impl SnapshotSource for Content {
    fn session_count(&self) -> usize {
        self.sessions.len()
    }
    fn sessions(&self, each: &mut dyn FnMut(SessionId, i32) -> io::Result<()>) -> io::Result<()> {
        self.sessions.iter().try_for_each(|(session, timeout_ms)| each(*session, *timeout_ms))
    }
    fn acl_count(&self) -> usize {
        self.acls.len()
    }
    fn acls(&self, each: &mut dyn FnMut(i64, &[Acl]) -> io::Result<()>) -> io::Result<()> {
        self.acls.iter().try_for_each(|(key, list)| each(*key, list))
    }
    fn nodes(&self, each: &mut dyn FnMut(&SnapshotNode<'_>) -> io::Result<()>) -> io::Result<()> {
        self.nodes.iter().try_for_each(|node| {
            each(&SnapshotNode { path: &node.path, data: node.data.as_deref(), acl_key: node.acl_key, stat: node.stat })
        })
    }
    fn trailer(&self) -> SnapshotTrailer {
        self.trailer
    }
}

fn load(directory: &Path, name: &str) -> Content {
    let file =
        list_snapshots(&RealDisk, directory).unwrap().into_iter().find(|file| file.path.ends_with(name)).unwrap();
    assert!(file.looks_valid(&RealDisk).unwrap());
    let mut content = Content::default();
    content.trailer = load_snapshot(&RealDisk, &file, &mut content).unwrap();
    content
}

#[test]
fn every_java_snapshot_holds_what_java_prints_of_it() {
    for version in VERSIONS {
        for (path, printed) in files(version, "snapshot.") {
            let root = data_dir(std::slice::from_ref(&path));
            let name = path.file_name().unwrap().to_str().unwrap();
            let content = load(&root.path().join("version-2"), name);
            let (nodes, rest) = printed.split_once("----\nSession Details").unwrap();
            let mut blocks = nodes.split("----\n");
            // Java counts the root under both of its names.
            assert_eq!(blocks.next().unwrap(), format!("ZNode Details (count={}):\n", content.nodes.len() + 1));
            let ours: BTreeMap<&str, String> =
                content.nodes.iter().map(|node| (node.path.as_str(), printed_node(node))).collect();
            let blocks: Vec<&str> = blocks.collect();
            assert_eq!(blocks.len(), ours.len());
            for block in blocks {
                let without_times: String =
                    block.lines().filter(|line| !line.contains("time = ")).map(|line| format!("{line}\n")).collect();
                let path = block.lines().next().unwrap();
                assert_eq!(without_times, ours[if path == "/" { "" } else { path }]);
            }
            for (session, timeout_ms) in &content.sessions {
                assert!(rest.contains(&format!("{:#x}, {timeout_ms}, ", session.0)), "{rest}");
            }
            assert_eq!(rest.matches(", ").count() - 2, 2 * content.sessions.len());
        }
    }
}

fn printed_node(node: &Node) -> String {
    let stat = &node.stat;
    let path = if node.path.is_empty() { "/" } else { &node.path };
    let data = base64::engine::general_purpose::STANDARD.encode(node.data.as_deref().unwrap_or_default());
    // Java pads zxids to 14 digits and does not cut longer ones.
    format!(
        "{path}\n  cZxid = {:#016x}\n  mZxid = {:#016x}\n  pZxid = {:#016x}\n  cversion = {}\n  dataVersion = {}\n  \
         aclVersion = {}\n  ephemeralOwner = {:#016x}\n  data = {data}\n",
        stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.cversion, stat.version, stat.aversion, stat.ephemeral_owner
    )
}

#[test]
fn every_java_snapshot_is_written_again_with_the_same_content() {
    for version in VERSIONS {
        for (path, _) in files(version, "snapshot.") {
            let name = path.file_name().unwrap().to_str().unwrap();
            let root = data_dir(std::slice::from_ref(&path));
            let content = load(&root.path().join("version-2"), name);
            let target = tempfile::tempdir().unwrap();
            let read_from = list_snapshots(&RealDisk, &root.path().join("version-2")).unwrap().remove(0);
            let options = SnapshotOptions { compression: read_from.compression };
            let written = write_snapshot(&RealDisk, target.path(), read_from.zxid, options, &content).unwrap();
            assert!(written.path.ends_with(name));
            assert_eq!(load(target.path(), name), content);
            let is_plain = !name.contains(".gz") && !name.contains(".snappy");
            if is_plain {
                assert!(fs::read(&written.path).unwrap() == fs::read(&path).unwrap(), "{}", path.display());
            }
        }
    }
}

#[test]
fn trailers_are_those_of_the_release_and_its_options() {
    let trailer = |version: &str, name: &str| load(&golden(version), name).trailer;
    for version in VERSIONS {
        let digest = trailer(version, "snapshot.1b").digest.unwrap();
        assert_eq!((digest.zxid, digest.version), (Zxid(0x1b), 2));
        assert_eq!(trailer(version, "snapshot.25"), SnapshotTrailer::default(), "both switched off");
    }
    assert_eq!(trailer("3.9.5", "snapshot.1b").last_zxid, Some(Zxid(0x1b)));
    assert_eq!(trailer("3.8.5", "snapshot.1b").last_zxid, None, "3.8 does not write it");
}

#[test]
fn a_java_directory_is_restored_from_any_of_its_snapshots() {
    for version in VERSIONS {
        let logs = files(version, "log.");
        for (snapshot, _) in files(version, "snapshot.") {
            let chosen: Vec<PathBuf> = logs.iter().map(|(path, _)| path.clone()).chain([snapshot.clone()]).collect();
            let root = data_dir(&chosen);
            let dirs = DataDirs::open(&DataDirOptions {
                data_dir: root.path().to_owned(),
                data_log_dir: None,
                autocreate: false,
            })
            .unwrap();
            let mut content = Content::default();
            let restored = restore(&dirs, &RestoreOptions::default(), &mut content).unwrap();
            assert_eq!(restored.last_zxid, Zxid(0x34));
            let expected: Vec<Zxid> = (restored.snapshot_zxid.0 + 1..=0x34).map(Zxid).collect();
            assert_eq!(content.replayed, expected, "{}", snapshot.display());
            assert_eq!(restored.repairs, []);
        }
    }
}
