//! The operator of an ensemble whose members change: lays down the files that servers start from, and writes them anew for a
//! server that they do not name any more. And what follows from who the members are: who has to serve, and who can be spared.

use super::checkers::Checked;
use super::disk::SimDisk;
use super::members::{initial_config, static_lines, with_joiner};
use super::options::Options;
use super::server::Server;
use super::simulator::Simulator;
use crate::config::{CommandLine, ConfigError, EnsembleSettings, Given, load};
use crate::message::lane::Standing;
use crate::request::config_of;
use crate::types::{Quorum, QuorumConfig, Role, ServerId};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) fn static_file() -> PathBuf {
    PathBuf::from("/conf/zoo.cfg")
}

fn next_file() -> PathBuf {
    PathBuf::from("/conf/zoo.cfg.dynamic.next")
}

/// What a server makes of its files when it starts, as `main` does.
pub(super) fn read_settings(disk: &SimDisk) -> Result<EnsembleSettings, ConfigError> {
    let line = CommandLine { properties: Vec::new(), given: Given::File(static_file()) };
    let mut read = |path: &Path| disk.contents(path).ok_or_else(|| io::ErrorKind::NotFound.into());
    let settings = load(&line, &mut read)?.settings;
    Ok(settings.ensemble.expect("files of a member of an ensemble"))
}

impl Simulator {
    /// Files for all of them, where members change: those that will be added later name themselves besides the others.
    pub(super) fn lay_config_files(&mut self) {
        if !self.options.members.reconfig {
            return;
        }
        let initial = initial_config(&self.options).membership;
        for index in 0..self.servers.len() {
            let own = Options::id_of(index);
            let role = if self.operator.chance(1, 2) { Role::Participant } else { Role::Observer };
            let config = QuorumConfig { membership: with_joiner(&self.options, &initial, own, role), version: 0 };
            let disk = &self.servers[index].disk;
            disk.create_directory(Path::new("/conf"));
            disk.create_directory(Path::new("/data"));
            disk.lay(Path::new("/data/myid"), format!("{}\n", own.0).into_bytes());
            disk.lay(
                &static_file(),
                format!("{}{}", static_lines(&self.options), config.dynamic_file_text()).into_bytes(),
            );
        }
    }

    /// A server that is no member does not start from what its files say: it is told who the members are now.
    pub(super) fn see_to_config_files(&mut self, index: usize) {
        if self.options.members.reconfig && read_settings(&self.servers[index].disk).is_err() {
            self.tell_of_members(index);
        }
    }

    /// The operator writes down the configuration in force for a server. With its version, or the server would take older ones
    /// for newer. One that is no member stands there as an observer, since it would not start; then the version is that before,
    /// so that nobody takes these members for the true ones. What it has heard of and does not know to be in force stays.
    fn tell_of_members(&mut self, index: usize) {
        self.counts.config_files_rewritten += 1;
        let own = Options::id_of(index);
        let newest = self.configurations.newest();
        let membership = with_joiner(&self.options, &newest.membership, own, Role::Observer);
        let before = i64::from(!self.configurations.is_member(own));
        let config = QuorumConfig { membership, version: (newest.version - before).max(0) };
        if before > 0 {
            self.configurations.is_made_up(config.version);
        }
        let dynamic_file = format!("/conf/zoo.cfg.dynamic.{:x}", config.version);
        let text = format!("{}dynamicConfigFile={dynamic_file}\n", static_lines(&self.options));
        let server = &mut self.servers[index];
        server.disk.settle(Path::new("/conf"));
        server.disk.lay(Path::new(&dynamic_file), config.dynamic_file_text().into_bytes());
        server.disk.lay(&static_file(), text.into_bytes());
        self.tell(|| format!("server {index} is told of the members: {config}"));
    }

    /// A server that has been away for so long that nobody is any more where it knows them does not find the others again: it
    /// is told where they are, and started anew.
    pub(super) fn find_the_lost(&mut self) {
        if !self.options.members.reconfig {
            return;
        }
        let newest = self.configurations.newest().version;
        let all: Vec<Known> = self.servers.iter().map(Known::of).collect();
        let mut found: Vec<bool> = all.iter().map(|known| known.version == newest).collect();
        while let Some(next) = (0..all.len()).find(|index| {
            let meets = |other: usize| found[other] && all[*index].finds(Options::id_of(other), &all[other]);
            !found[*index] && (0..all.len()).any(meets)
        }) {
            found[next] = true;
        }
        for index in (0..all.len()).filter(|index| !found[*index]) {
            if self.servers[index].running.is_some() {
                self.process_ends(index);
            }
            self.tell_of_members(index);
        }
    }

    /// A change that some servers have heard of and others have not can wait for those others for ever: only who knows of it
    /// votes for a server that votes in it alone, and finds it. The operator gives its file to everybody; to have heard of a
    /// change does no harm.
    pub(super) fn spread_pending_change(&mut self) {
        let newest = self.configurations.newest().version;
        let heard = self.servers.iter().filter_map(Server::config_heard_of);
        let Some(pending) = heard.filter(|next| next.version > newest).max_by_key(|next| next.version) else { return };
        let knows_it = |server: &Server| server.config_heard_of().is_some_and(|next| next.version == pending.version);
        let lacking: Vec<usize> = self.servers.iter().filter(|server| !knows_it(server)).map(|s| s.index).collect();
        if lacking.is_empty() {
            return;
        }
        self.counts.changes_spread += 1;
        self.tell(|| format!("servers {lacking:?} are told of a change that is pending: {pending}"));
        for index in lacking {
            if self.servers[index].running.is_some() {
                self.process_ends(index);
            }
            let disk = &self.servers[index].disk;
            disk.settle(Path::new("/conf"));
            disk.lay(&next_file(), pending.next_file_text().into_bytes());
        }
    }

    /// What everybody knows of the members, for whoever looks for the cause of a failure.
    pub(super) fn tell_members(&self) {
        for server in self.servers.iter().filter(|_| self.options.members.reconfig) {
            let known = Known::of(server);
            let standing = server.running.as_ref().map(|running| running.standing());
            self.tell(|| {
                let configs = known.configs.iter().map(ToString::to_string).collect::<Vec<_>>();
                format!("server {} is {standing:?}, shows {}, knows of {configs:#?}", server.index, server.shown)
            });
        }
    }

    /// What a server works with after a turn of its ensemble thread.
    pub(super) fn look_at_members(&mut self, index: usize) -> Checked {
        if !self.options.members.reconfig {
            return Ok(());
        }
        let server = &mut self.servers[index];
        let Some(running) = &mut server.running else { return Ok(()) };
        let Some(in_force) = running.members() else { return Ok(()) };
        if running.in_force.as_ref().is_some_and(|known| Arc::ptr_eq(known, &in_force.config)) {
            return Ok(());
        }
        let before = running.in_force.replace(in_force.config.clone());
        let is_new = self.configurations.in_force(index, before.as_deref(), &in_force.config)?;
        if is_new {
            let leads = self.servers[index].running.as_ref().is_some_and(|r| r.standing() == Standing::Leading);
            let stays = in_force.config.membership.is_voter(Options::id_of(index));
            self.counts.configurations += 1;
            self.counts.leaders_that_left += u64::from(leads && !stays);
            self.hash.number(in_force.config.version as u64);
            self.tell(|| format!("server {index} puts in force\n{}", in_force.config));
        }
        Ok(())
    }

    /// What the history says of members is what came into force.
    pub(super) fn check_configurations(&self) -> Checked {
        let configs = self.history.bodies().filter_map(config_of);
        configs.filter_map(Result::ok).try_for_each(|config| self.configurations.proposed(&config))
    }

    pub(super) fn must_serve(&self, index: usize) -> bool {
        self.configurations.is_member(Options::id_of(index))
    }

    /// Members change first, files are damaged later: who has lost its files could be the one whose vote a change needs that
    /// was under way, and nobody else could say whether it had agreed.
    pub(super) fn changes_members(&self) -> bool {
        let Options { faults_from_us, faults_until_us, .. } = self.options;
        let is_damaged_later = self.options.faults.damage > 0 || self.options.faults.lose_directory > 0;
        let until = if is_damaged_later { (faults_from_us + faults_until_us) / 2 } else { faults_until_us };
        self.options.members.reconfig && self.agenda.now() < until
    }

    /// Nobody waits for a change of members any more.
    pub(super) fn is_done_with_members(&self) -> bool {
        let Options { faults_from_us, faults_until_us, limits, .. } = self.options;
        let patience_us = limits.sync_ms() * 1000 * 8;
        !self.options.members.reconfig || self.agenda.now() > (faults_from_us + faults_until_us) / 2 + patience_us
    }

    /// The rules of the configuration in force, and of those that somebody has heard of and that may follow it.
    pub(super) fn quorums(&self) -> Vec<Quorum> {
        let mut quorums = vec![self.configurations.quorum().clone()];
        if self.options.members.reconfig {
            let newest = self.configurations.newest().version;
            let heard = self.servers.iter().filter_map(Server::config_heard_of);
            quorums.extend(heard.filter(|next| next.version > newest).map(|next| Quorum::of(&next.membership)));
        }
        quorums
    }

    pub(super) fn ids_of<'a>(&self, servers: impl Iterator<Item = &'a Server>) -> BTreeSet<ServerId> {
        servers.map(|server| Options::id_of(server.index)).collect()
    }
}

/// Where a server would look for the others.
struct Known {
    /// Of the configuration that it works with.
    version: i64,
    /// That one, and what it has heard of.
    configs: Vec<QuorumConfig>,
    own_ports: Vec<(String, u16)>,
}

impl Known {
    fn of(server: &Server) -> Known {
        let settings = read_settings(&server.disk).ok();
        let running = server.running.as_ref().and_then(|running| running.members());
        let of_running = running.as_ref().map(|in_force| (*in_force.config).clone());
        let config = of_running.or_else(|| settings.map(|settings| settings.config)).unwrap_or_default();
        let own = running.and_then(|in_force| in_force.own.clone());
        let own = own.or_else(|| config.membership.members.get(&Options::id_of(server.index)).cloned());
        let ports = own.iter().flat_map(|own| own.election_ports()).map(|(host, port)| (host.to_owned(), port));
        let own_ports = ports.collect();
        let version = config.version;
        Known { version, configs: [config].into_iter().chain(server.config_heard_of()).collect(), own_ports }
    }

    /// It takes that server for a voter, and knows where it takes votes now: whoever looks for a leader asks voters alone.
    fn finds(&self, id: ServerId, other: &Known) -> bool {
        let lines = self.configs.iter().filter_map(|config| config.membership.members.get(&id));
        let lines = lines.filter(|line| line.role == Role::Participant);
        let mut ports = lines.flat_map(|line| line.election_ports());
        ports.any(|(host, port)| other.own_ports.iter().any(|(h, p)| h == host && *p == port))
    }
}

impl Server {
    /// Its newest configuration that is not known to be committed, as its file says.
    fn config_heard_of(&self) -> Option<QuorumConfig> {
        let text = self.disk.contents(&next_file())?;
        QuorumConfig::parse(&String::from_utf8_lossy(&text)).ok()
    }
}
