//! The lines that make an ensemble: `server.N`, `group.N`, `weight.N`. Read and checked as ZooKeeper's
//! `QuorumPeerConfig` does; resolving host names is left to whoever connects.

use super::ServerId;
use super::host::{bracketed, canonical_host, is_loopback_host, is_wildcard_host, split_host_and_ports};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A client port on every address, as it is written.
const EVERY_ADDRESS: &str = "0.0.0.0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Participant,
    Observer,
}

/// Where a member's quorum and election ports are. Ordered by host, as ZooKeeper writes several of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QuorumAddress {
    /// In the form of `canonical_host`.
    pub host: String,
    pub quorum_port: u16,
    pub election_port: u16,
}

/// A client port as a member line writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// In the form of `canonical_host`; `None` = every address, written without host or as `0.0.0.0`.
    pub host: Option<String>,
    pub port: u16,
}

/// One `server.N` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: ServerId,
    /// At least one, ascending, none twice; several only with `multiAddress.enabled`.
    pub addresses: Vec<QuorumAddress>,
    pub role: Role,
    pub client: Option<ClientAddress>,
}

/// Why a line is refused. Java's `reconfig` answers the two differently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMemberLine {
    #[error("{0}")]
    Form(String),
    /// Something that has to be a number is none, or is out of its range.
    #[error("{0}")]
    Number(String),
}

impl BadMemberLine {
    fn form(why: impl Into<String>) -> BadMemberLine {
        BadMemberLine::Form(why.into())
    }

    /// The same, of the line with this key.
    pub fn of(self, key: &str) -> BadMemberLine {
        match self {
            BadMemberLine::Form(why) => BadMemberLine::Form(format!("{key}: {why}")),
            BadMemberLine::Number(why) => BadMemberLine::Number(format!("{key}: {why}")),
        }
    }
}

/// All members, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub members: BTreeMap<ServerId, Member>,
    pub groups: BTreeMap<i64, Vec<ServerId>>,
    pub weights: BTreeMap<ServerId, i64>,
}

impl Membership {
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.members.get(&id).is_some_and(|member| member.role == Role::Participant)
    }

    pub fn voter_ids(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.members.values().filter(|member| member.role == Role::Participant).map(|member| member.id)
    }

    pub fn voters(&self) -> usize {
        self.with_role(Role::Participant)
    }

    pub fn observers(&self) -> usize {
        self.with_role(Role::Observer)
    }

    fn with_role(&self, role: Role) -> usize {
        self.members.values().filter(|m| m.role == role).count()
    }

    /// Whether `key` is a line of membership.
    pub fn owns(key: &str) -> bool {
        key.starts_with("server.") || key.starts_with("group") || key.starts_with("weight")
    }

    /// Takes one line, `key=text`.
    pub fn add(&mut self, key: &str, text: &str) -> Result<(), BadMemberLine> {
        let missing = || BadMemberLine::Number("a number must follow after a dot".to_owned());
        let (kind, number) = key.split_once('.').ok_or_else(missing)?;
        let number = whole(number)?;
        match kind {
            "server" => {
                let member = Member::parse(ServerId(number), text)?;
                self.members.insert(member.id, member);
            }
            "group" => {
                let ids: Result<Vec<i64>, BadMemberLine> = text.split(':').map(whole).collect();
                let mut ids: Vec<ServerId> = ids?.into_iter().map(ServerId).collect();
                ids.sort_unstable();
                self.groups.insert(number, ids);
            }
            "weight" => {
                self.weights.insert(ServerId(number), whole(text)?);
            }
            _ => return Err(BadMemberLine::form("only server.N, group.N and weight.N exist")),
        }
        Ok(())
    }

    /// Whether quorums are of groups and weights.
    pub fn is_hierarchical(&self) -> bool {
        !self.groups.is_empty() || !self.weights.is_empty()
    }

    /// Every voter stands in exactly one group, if there are groups at all.
    pub fn check_groups(&self) -> Result<(), String> {
        if !self.is_hierarchical() {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        for id in self.groups.values().flatten() {
            if !seen.insert(*id) {
                return Err(format!("server {} is in more than one group", id.0));
            }
        }
        let voters = self.members.values().filter(|m| m.role == Role::Participant);
        for voter in voters {
            if !seen.contains(&voter.id) {
                return Err(format!("server {} is in no group", voter.id.0));
            }
        }
        Ok(())
    }
}

/// What stands behind `server.N=`, as ZooKeeper writes it.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.addresses.iter().enumerate() {
            let between = if index == 0 { "" } else { "|" };
            let host = bracketed(&address.host);
            write!(f, "{between}{host}:{}:{}", address.quorum_port, address.election_port)?;
        }
        write!(f, ":{}", self.role)?;
        match &self.client {
            None => Ok(()),
            Some(client) => write!(f, ";{client}"),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_deref().unwrap_or(EVERY_ADDRESS);
        write!(f, "{}:{}", bracketed(host), self.port)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Participant => "participant",
            Role::Observer => "observer",
        })
    }
}

fn whole(text: &str) -> Result<i64, BadMemberLine> {
    let text = text.trim();
    text.parse().map_err(|_| BadMemberLine::Number(format!("a whole number expected, found `{text}`")))
}

fn port(text: &str) -> Result<u16, BadMemberLine> {
    let why = format!("a port from 0 to 65535 expected, found `{text}`");
    match text.parse::<i32>() {
        Ok(number) => u16::try_from(number).map_err(|_| BadMemberLine::Number(why)),
        Err(_) => Err(BadMemberLine::Form(why)),
    }
}

impl Member {
    /// What stands behind `server.N=`: `host:quorumPort:electionPort[:role][;[clientHost:]clientPort]`, several addresses
    /// joined by `|`.
    pub fn parse(id: ServerId, text: &str) -> Result<Member, BadMemberLine> {
        const FORM: &str = "host:quorumPort:electionPort[:participant|observer][;[clientHost:]clientPort] expected";
        let (servers, client) = match text.split_once(';') {
            Some((_, client)) if client.contains(';') => return Err(BadMemberLine::form(FORM)),
            Some((servers, client)) => (servers, Some(client)),
            None => (text, None),
        };
        let mut addresses = BTreeSet::new();
        let mut role = None;
        for address in servers.split('|') {
            let (address, named) =
                quorum_address(address.trim()).map_err(|why| why.unwrap_or_else(|| BadMemberLine::form(FORM)))?;
            if role.is_some() && named.is_some() && role != named {
                return Err(BadMemberLine::form("the addresses name different roles"));
            }
            role = role.or(named);
            addresses.insert(address);
        }
        Ok(Member {
            id,
            addresses: addresses.into_iter().collect(),
            role: role.unwrap_or(Role::Participant),
            client: client.map(str::trim).filter(|client| !client.is_empty()).map(client_address).transpose()?,
        })
    }

    /// Where its quorum port is.
    pub fn quorum_ports(&self) -> impl Iterator<Item = (&str, u16)> {
        self.addresses.iter().map(|address| (address.host.as_str(), address.quorum_port))
    }

    /// Where its election port is.
    pub fn election_ports(&self) -> impl Iterator<Item = (&str, u16)> {
        self.addresses.iter().map(|address| (address.host.as_str(), address.election_port))
    }

    /// An address that both have, as text, where that cannot be: addresses of this machine alone, and those that stand for
    /// every address, may well be meant differently by each.
    pub fn clash(&self, other: &Member) -> Option<String> {
        let theirs: BTreeSet<(&str, u16)> = other.every_address().collect();
        let both = self.every_address().find(|address| theirs.contains(address));
        both.map(|(host, port)| format!("{}:{port}", bracketed(host)))
    }

    fn every_address(&self) -> impl Iterator<Item = (&str, u16)> {
        let client = self.client.iter().filter_map(|client| Some((client.host.as_deref()?, client.port)));
        self.quorum_ports()
            .chain(client)
            .chain(self.election_ports())
            .filter(|(host, _)| !is_wildcard_host(host) && !is_loopback_host(host))
    }
}

/// One address with the role that it names; an error without text: the form is wrong.
fn quorum_address(text: &str) -> Result<(QuorumAddress, Option<Role>), Option<BadMemberLine>> {
    let parts = split_host_and_ports(text).map_err(|why| Some(BadMemberLine::Form(why)))?;
    let (host, quorum, election, word) = match parts.as_slice() {
        [host, quorum, election] => (host, quorum, election, None),
        [host, quorum, election, word] => (host, quorum, election, Some(word)),
        _ => return Err(None),
    };
    let address =
        QuorumAddress { host: canonical_host(host), quorum_port: port(quorum)?, election_port: port(election)? };
    if address.quorum_port == address.election_port {
        return Err(Some(BadMemberLine::form("quorum port and election port must differ")));
    }
    let named = match word.map(|word| word.trim().to_ascii_lowercase()).as_deref() {
        None => None,
        Some("participant") => Some(Role::Participant),
        Some("observer") => Some(Role::Observer),
        Some(other) => {
            return Err(Some(BadMemberLine::form(format!("participant or observer expected, found `{other}`"))));
        }
    };
    Ok((address, named))
}

fn client_address(text: &str) -> Result<ClientAddress, BadMemberLine> {
    match split_host_and_ports(text).map_err(BadMemberLine::Form)?.as_slice() {
        [only] => Ok(ClientAddress { host: None, port: port(only)? }),
        [host, number] if !host.is_empty() => {
            let host = Some(canonical_host(host)).filter(|host| host != EVERY_ADDRESS);
            Ok(ClientAddress { host, port: port(number)? })
        }
        _ => Err(BadMemberLine::form(format!("[clientHost:]clientPort expected, found `{text}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_lines() {
        let parsed = Member::parse(ServerId(1), "zoo1:2888:3888").unwrap();
        assert_eq!(parsed.addresses[0].host, "zoo1");
        assert_eq!(parsed.addresses[0].election_port, 3888);
        assert_eq!((parsed.role, parsed.client), (Role::Participant, None));
        let parsed = Member::parse(ServerId(2), "[2001:db8::1]:1:2:observer;[::1]:2181").unwrap();
        assert_eq!(parsed.addresses[0].host, "2001:db8:0:0:0:0:0:1");
        assert_eq!(parsed.role, Role::Observer);
        let client = parsed.client.unwrap();
        assert_eq!((client.host.as_deref(), client.port), (Some("0:0:0:0:0:0:0:1"), 2181));
        let parsed = Member::parse(ServerId(3), "a:1:2|b:3:4;2181").unwrap();
        assert_eq!(parsed.addresses.len(), 2);
        for wrong in [
            "zoo1",
            "zoo1:2888",
            "zoo1:2888:2888",
            "zoo1:x:1",
            "a:1:2:king",
            "a:1:2;b:c:1",
            "a:1:2;1;2",
            "[::1:1:2",
            "a:1:99999",
        ] {
            assert!(Member::parse(ServerId(1), wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_number_is_told_apart() {
        let why = |text| Member::parse(ServerId(1), text).unwrap_err();
        assert!(matches!(why("a:1:99999"), BadMemberLine::Number(_)));
        assert!(matches!(why("a:x:1"), BadMemberLine::Form(_)));
        assert!(matches!(why("a:1:2;99999"), BadMemberLine::Number(_)));
        let of = |key, text| Membership::default().add(key, text).unwrap_err();
        assert!(matches!(of("server.x", "a:1:2"), BadMemberLine::Number(_)));
        assert!(matches!(of("group1", "1"), BadMemberLine::Number(_)));
        assert_eq!(of("server.1", "a:1").of("server.1").to_string().split(':').next(), Some("server.1"));
    }

    #[test]
    fn addresses_that_two_members_cannot_both_have() {
        let of = |text| Member::parse(ServerId(1), text).unwrap();
        let first = of("zoo1:1:2;10.0.0.1:3");
        assert_eq!(first.clash(&of("zoo2:1:2;10.0.0.1:4")), None);
        assert_eq!(first.clash(&of("zoo2:1:2;10.0.0.1:3")), Some("10.0.0.1:3".to_owned()));
        assert_eq!(first.clash(&of("zoo1:3:2")), Some("zoo1:2".to_owned()));
        assert_eq!(of("localhost:1:2;3").clash(&of("localhost:1:2;3")), None);
        assert_eq!(of("127.0.0.1:1:2;0.0.0.0:3").clash(&of("127.0.0.1:1:2;0.0.0.0:3")), None);
    }
}
