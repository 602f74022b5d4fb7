//! A configuration of the ensemble as text: what `/zookeeper/config` holds, what NEWLEADER and election notifications
//! carry, and what dynamic files hold. Written as ZooKeeper's `QuorumMaj` and `QuorumHierarchical` write it, down to the
//! order of the lines, so that a text does not change with the server that wrote it.

use super::{BadMemberLine, Membership, Role, ServerId};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

/// The members and which version of them: the zxid of the reconfig that made it, 0 for a static file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumConfig {
    pub membership: Membership,
    pub version: i64,
}

impl QuorumConfig {
    /// Reads `key=value` lines; without `version` line it is 0.
    pub fn parse(text: &str) -> Result<QuorumConfig, BadMemberLine> {
        let mut config = QuorumConfig::default();
        for line in text.split(['\n', '\r']).map(|line| line.trim_matches(is_blank)) {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = split(line);
            config.add(key, value).map_err(|why| why.of(key))?;
        }
        config.membership.check_groups().map_err(BadMemberLine::Form)?;
        Ok(config)
    }

    fn add(&mut self, key: &str, value: &str) -> Result<(), BadMemberLine> {
        let no_number = || BadMemberLine::Number("a hexadecimal number expected".to_owned());
        let no_line = || BadMemberLine::Form("only server, group, weight and version lines belong here".to_owned());
        match key {
            "version" => self.version = version_from_hex(value).ok_or_else(no_number)?,
            _ if Membership::owns(key) => self.membership.add(key, value)?,
            _ => return Err(no_line()),
        }
        Ok(())
    }

    /// Text of `zoo.cfg.dynamic.<version>`: sorted lines without version, since the file's name holds it.
    pub fn dynamic_file_text(&self) -> String {
        self.sorted_lines(None)
    }

    /// Text of `zoo.cfg.dynamic.next`, which does hold the version.
    pub fn next_file_text(&self) -> String {
        self.sorted_lines(Some(format!("version={:x}", self.version)))
    }

    fn sorted_lines(&self, version: Option<String>) -> String {
        let text = self.membership.lines();
        let mut lines: Vec<&str> = text.lines().chain(version.as_deref()).collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    /// The version that the name of a dynamic file ends with, as ZooKeeper finds it.
    pub fn version_in_file_name(name: &str) -> Option<i64> {
        let (_, suffix) = name.rsplit_once('.')?;
        version_from_hex(suffix)
    }
}

/// The text of `/zookeeper/config`: member lines, then groups and weights if there are any, then the version.
impl Display for QuorumConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}version={:x}", self.membership.lines(), self.version)
    }
}

impl Membership {
    /// Everything but the version, a line break behind each line.
    fn lines(&self) -> String {
        let mut text = String::new();
        let mut line = |kind: &str, number: i64, value: &dyn Display| {
            writeln!(text, "{kind}.{number}={value}").expect("writing to a string does not fail");
        };
        for id in in_java_order(self.members.keys().map(|id| id.0)) {
            line("server", id, &self.members[&ServerId(id)]);
        }
        if !self.is_hierarchical() {
            return text;
        }
        let group_of: BTreeMap<i64, i64> =
            self.groups.iter().flat_map(|(group, ids)| ids.iter().map(|id| (id.0, *group))).collect();
        let ids = in_java_order(group_of.keys().copied());
        for group in in_java_order(self.groups.keys().copied()) {
            let ids: Vec<String> = ids.iter().filter(|id| group_of[*id] == group).map(i64::to_string).collect();
            line("group", group, &ids.join(":"));
        }
        let weights = self.written_weights();
        for id in in_java_order(weights.keys().copied()) {
            line("weight", id, &weights[&id]);
        }
        text
    }

    /// Every voter's, given or not.
    fn written_weights(&self) -> BTreeMap<i64, i64> {
        let voters = self.members.values().filter(|member| member.role == Role::Participant);
        let mut weights: BTreeMap<i64, i64> = voters.map(|voter| (voter.id.0, 1)).collect();
        weights.extend(self.weights.iter().map(|(id, weight)| (id.0, *weight)));
        weights
    }
}

/// The order in which a `HashMap` of Java gives out these keys. Only keys of one bucket (for up to 12 servers: ids that
/// differ by a multiple of 16) stand in the order of their insertion there, which says nothing; here the smaller first.
fn in_java_order(keys: impl Iterator<Item = i64>) -> Vec<i64> {
    const BUCKETS_MIN: usize = 16;
    let mut keys: Vec<i64> = keys.collect();
    let mut buckets = BUCKETS_MIN;
    while keys.len() > buckets / 4 * 3 {
        buckets *= 2;
    }
    let bucket = |key: i64| {
        let hash = (key ^ (key as u64 >> 32) as i64) as u32;
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    };
    keys.sort_by_key(|key| (bucket(*key), *key));
    keys
}

fn version_from_hex(text: &str) -> Option<i64> {
    i64::from_str_radix(text, 16).ok()
}

fn is_blank(c: char) -> bool {
    c <= ' '
}

/// A key ends at the first `=`, `:` or blank, as in every properties text.
fn split(line: &str) -> (&str, &str) {
    let end = line.find(|c| is_blank(c) || c == '=' || c == ':').unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_blank))
}

#[cfg(test)]
#[path = "quorum_config_tests.rs"]
mod tests;
