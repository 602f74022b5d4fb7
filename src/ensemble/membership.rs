//! Who the members are, as this server knows it: the committed configuration, and the newest one heard of as long as that is
//! not known to be committed (`QuorumPeer.setQuorumVerifier`, `setLastSeenQuorumVerifier`).
//!
//! Invariants: what is heard of is durable before anybody is told that it was; of the two the one that is heard of is the newer
//! one; without `reconfigEnabled` nothing ever changes, and no file is touched.

use super::elections::Addresses;
use super::seat::SeatOptions;
use crate::election::Electorate;
use crate::storage::{ConfigFiles, StorageError};
use crate::types::{ClientAddress, Member, Quorum, QuorumConfig, Role, ServerId};
use crate::wire::election::ElectionAddress;
use std::sync::Arc;

/// What an ensemble may do about its members.
#[derive(Clone, Debug)]
pub struct ReconfigOptions {
    /// `reconfigEnabled`
    pub enabled: bool,
    /// `standaloneEnabled`
    pub standalone_enabled: bool,
    /// The newest configuration heard of, from a file.
    pub last_seen: Option<QuorumConfig>,
    /// `None`: configurations live as long as the process.
    pub files: Option<ConfigFiles>,
}

impl ReconfigOptions {
    /// Members that stay as they are.
    pub fn disabled() -> ReconfigOptions {
        ReconfigOptions { enabled: false, standalone_enabled: true, last_seen: None, files: None }
    }
}

pub(super) struct Configurations {
    me: ServerId,
    options: ReconfigOptions,
    committed: Arc<QuorumConfig>,
    last_seen: Option<Arc<QuorumConfig>>,
    /// It is durable, if there is one.
    is_last_seen_kept: bool,
    /// The committed one as it travels, and the newest.
    text: Arc<str>,
    newest_text: Arc<str>,
    quorum: Quorum,
    role: Role,
    /// This server's line, as a committed configuration named it last.
    own: Option<Member>,
}

/// What became of a configuration that is committed.
#[derive(Debug)]
pub(super) struct Change {
    pub before: Arc<QuorumConfig>,
    /// More than its version.
    pub members: bool,
    /// This server is another thing than it was.
    pub role: bool,
    /// Where this server's own ports are has changed.
    pub election_port: bool,
    pub quorum_port: bool,
    pub client_port: Option<ClientAddress>,
}

impl Configurations {
    pub fn new(seat: &SeatOptions) -> Configurations {
        let committed = Arc::new(seat.config.clone());
        let own = committed.membership.members.get(&seat.me).cloned();
        let enabled = seat.reconfig.enabled;
        let last_seen = seat.reconfig.last_seen.clone().filter(|next| enabled && next.version > committed.version);
        let text: Arc<str> = committed.to_string().into();
        Configurations {
            me: seat.me,
            options: seat.reconfig.clone(),
            newest_text: last_seen.as_ref().map_or_else(|| text.clone(), |next| next.to_string().into()),
            text,
            quorum: Quorum::of(&committed.membership),
            role: own.as_ref().map_or(seat.role, |own| own.role),
            own,
            last_seen: last_seen.map(Arc::new),
            is_last_seen_kept: true,
            committed,
        }
    }

    pub fn is_enabled(&self) -> bool {
        self.options.enabled
    }

    pub fn needs_two_voters(&self) -> bool {
        self.options.standalone_enabled
    }

    pub fn committed(&self) -> &Arc<QuorumConfig> {
        &self.committed
    }

    pub fn last_seen(&self) -> Option<&Arc<QuorumConfig>> {
        self.last_seen.as_ref()
    }

    /// The one heard of last, or the committed one.
    pub fn newest(&self) -> &Arc<QuorumConfig> {
        self.last_seen.as_ref().unwrap_or(&self.committed)
    }

    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub fn newest_text(&self) -> &Arc<str> {
        &self.newest_text
    }

    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn own(&self) -> Option<&Member> {
        self.own.as_ref()
    }

    /// Addresses of a member's quorum port; of one to come, if it was elected.
    pub fn quorum_addresses(&self, id: ServerId) -> Vec<(String, u16)> {
        let of = |config: &QuorumConfig| config.membership.members.get(&id).cloned();
        let member = of(&self.committed).or_else(|| of(self.newest()));
        let member = member.as_ref();
        let ports = member.into_iter().flat_map(Member::quorum_ports);
        ports.map(|(host, port)| (host.to_owned(), port)).collect()
    }

    /// Where this server takes learners if it is elected: where the others look for it, perhaps as a member to come, and where
    /// it was as a member before.
    pub fn own_quorum_addresses(&self) -> Vec<(String, u16)> {
        let mut addresses = self.quorum_addresses(self.me);
        for (host, port) in self.own.iter().flat_map(Member::quorum_ports) {
            if !addresses.iter().any(|(h, p)| h == host && *p == port) {
                addresses.push((host.to_owned(), port));
            }
        }
        addresses
    }

    /// Where votes go: to the members of both; where they disagree on a member, first to the committed address.
    pub fn election_addresses(&self) -> Addresses {
        let mut addresses = Addresses::new();
        for config in [Some(&self.committed), self.last_seen.as_ref()].into_iter().flatten() {
            for member in config.membership.members.values() {
                let known = addresses.entry(member.id).or_default();
                for (host, port) in member.election_ports() {
                    let address = ElectionAddress { host: host.to_owned(), port };
                    if !known.contains(&address) {
                        known.push(address);
                    }
                }
            }
        }
        // Of a member to come that no committed configuration has named, what was heard of is all there is.
        if let Some(own) = &self.own {
            let ports = own.election_ports();
            let own = ports.map(|(host, port)| ElectionAddress { host: host.to_owned(), port }).collect();
            addresses.insert(self.me, own);
        }
        addresses
    }

    pub fn electorate(&self) -> Electorate {
        let electorate = Electorate::new(self.quorum.clone(), self.committed.version, self.text.clone());
        match &self.last_seen {
            Some(next) => electorate.with_last_seen(Quorum::of(&next.membership), next.version),
            None => electorate,
        }
    }

    /// A configuration is proposed, or named by a leader; durable when this returns. `is_newest`: a leader says that there is
    /// nothing newer, so what was heard of before has come to nothing.
    pub fn see(&mut self, config: Arc<QuorumConfig>, is_newest: bool) -> Result<(), StorageError> {
        if !self.options.enabled || config.version == self.newest().version && self.is_last_seen_kept {
            return Ok(());
        }
        if config.version <= self.committed.version {
            if is_newest && self.last_seen.take().is_some() {
                self.is_last_seen_kept = true;
                self.newest_text = self.text.clone();
                return self.options.files.as_ref().map_or(Ok(()), ConfigFiles::forget_next);
            }
            return Ok(());
        }
        let kept = self.options.files.as_ref().map_or(Ok(()), |files| files.keep_next(&config));
        match kept {
            // The members are the same: losing it means nothing.
            Err(error) if config.membership == self.committed.membership => {
                tracing::error!("{error}: the version of the configuration cannot be kept");
            }
            kept => kept?,
        }
        self.know_of(config, true);
        Ok(())
    }

    /// A leader's configuration that could not be kept is pending all the same. Whoever else knows of it may be the one to be
    /// elected, which this server would not understand. Nothing is acknowledged before `see` has kept it.
    pub fn remember(&mut self, config: Arc<QuorumConfig>) {
        if self.options.enabled && config.version > self.newest().version {
            self.know_of(config, false);
        }
    }

    fn know_of(&mut self, config: Arc<QuorumConfig>, is_kept: bool) {
        self.newest_text = config.to_string().into();
        self.last_seen = Some(config);
        self.is_last_seen_kept = is_kept;
    }

    /// A configuration is committed. `None`: it was known to be, or nothing changes here.
    pub fn commit(&mut self, config: Arc<QuorumConfig>) -> Option<Change> {
        if !self.options.enabled || config.version <= self.committed.version {
            return None;
        }
        self.last_seen.take_if(|next| next.version <= config.version);
        let own = config.membership.members.get(&self.me).cloned();
        let client = own.as_ref().and_then(|own| own.client.clone());
        if let Some(files) = &self.options.files
            && let Err(error) = files.keep_committed(&config, client.is_some(), self.last_seen.is_none())
        {
            // What was heard of stays in its file, and says enough at the next start.
            tracing::error!("{error}: the configuration is in force, but not where the next start looks for it");
        }
        // Who is no member takes part without a vote.
        let role = own.as_ref().map_or(Role::Participant, |own| own.role);
        let moved = own.as_ref().filter(|own| self.own.as_ref().is_none_or(|was| was != *own));
        let election_port =
            moved.is_some_and(|own| self.own.as_ref().is_none_or(|was| !was.election_ports().eq(own.election_ports())));
        let quorum_port =
            moved.is_some_and(|own| self.own.as_ref().is_none_or(|was| !was.quorum_ports().eq(own.quorum_ports())));
        let client_before = self.own.as_ref().and_then(|was| was.client.clone());
        let change = Change {
            members: config.membership != self.committed.membership,
            role: role != self.role,
            election_port,
            quorum_port,
            client_port: client.filter(|client| client_before.as_ref() != Some(client)),
            before: std::mem::replace(&mut self.committed, config),
        };
        self.text = self.committed.to_string().into();
        if self.last_seen.is_none() {
            self.newest_text = self.text.clone();
            self.is_last_seen_kept = true;
        }
        self.quorum = Quorum::of(&self.committed.membership);
        self.role = role;
        self.own = own.or(self.own.take());
        Some(change)
    }
}

impl Change {
    /// The leader votes in both, and is where it was.
    pub fn keeps(&self, leader: ServerId, after: &QuorumConfig) -> bool {
        let of = |config: &QuorumConfig| -> Option<Vec<(String, u16)>> {
            let member = config.membership.members.get(&leader).filter(|member| member.role == Role::Participant)?;
            Some(member.quorum_ports().map(|(host, port)| (host.to_owned(), port)).collect())
        };
        of(&self.before).is_some_and(|before| of(after) == Some(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Arc<QuorumConfig> {
        Arc::new(QuorumConfig::parse(text).expect("a configuration"))
    }

    /// Its disk failed when the leader named it. Others know of it, and may elect whom only the new members name.
    #[test]
    fn what_could_not_be_kept_is_known_of_and_not_taken_for_kept() {
        let committed = config("server.1=a:2888:3888\nserver.2=b:2888:3888\nversion=1");
        let pending = config("server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\nversion=2");
        let home = tempfile::tempdir().expect("a directory");
        let nowhere = home.path().join("none/zoo.cfg");
        let edit = |_: &[u8], _: &str, _: bool| Ok(String::new());
        let files = ConfigFiles::new(Arc::new(crate::io::real_disk::RealDisk), nowhere, edit);
        let text: Arc<str> = committed.to_string().into();
        let mut configs = Configurations {
            me: ServerId(1),
            options: ReconfigOptions { enabled: true, files: Some(files), ..ReconfigOptions::disabled() },
            quorum: Quorum::of(&committed.membership),
            role: Role::Participant,
            own: None,
            newest_text: text.clone(),
            text,
            committed,
            last_seen: None,
            is_last_seen_kept: true,
        };
        assert!(configs.see(pending.clone(), false).is_err());
        assert!(!configs.electorate().may_lead(ServerId(3)));
        configs.remember(pending.clone());
        assert!(configs.electorate().may_lead(ServerId(3)));
        assert!(configs.see(pending.clone(), false).is_err(), "it has to be kept before anything is acknowledged");
        std::fs::create_dir(home.path().join("none")).expect("the disk is well again");
        configs.see(pending.clone(), false).expect("kept");
        assert!(home.path().join("none/zoo.cfg.dynamic.next").exists());
        std::fs::remove_dir_all(home.path().join("none")).expect("removed");
        configs.see(pending, false).expect("nothing is written again");
    }

    /// It was started anew while a change is pending that makes it a member: the others look for it where that says.
    #[test]
    fn a_member_to_come_is_where_the_others_look_for_it() {
        let committed = config("server.1=a:2888:3888\nversion=1");
        let pending = config("server.1=a:2888:3888\nserver.4=d:2889:3889\nversion=2");
        let text: Arc<str> = committed.to_string().into();
        let to_come = Configurations {
            me: ServerId(4),
            options: ReconfigOptions { enabled: true, ..ReconfigOptions::disabled() },
            quorum: Quorum::of(&committed.membership),
            role: Role::Participant,
            own: None,
            newest_text: text.clone(),
            text,
            committed,
            last_seen: Some(pending),
            is_last_seen_kept: true,
        };
        assert_eq!(to_come.own_quorum_addresses(), [("d".to_owned(), 2889)]);
        let votes = [ElectionAddress { host: "d".to_owned(), port: 3889 }];
        assert_eq!(to_come.election_addresses()[&ServerId(4)], votes);
        let was = config("server.4=d:2890:3890\nversion=1").membership.members[&ServerId(4)].clone();
        let before = Configurations { own: Some(was), ..to_come };
        assert_eq!(before.own_quorum_addresses(), [("d".to_owned(), 2889), ("d".to_owned(), 2890)]);
        assert_eq!(before.election_addresses()[&ServerId(4)][0].port, 3890);
    }
}
