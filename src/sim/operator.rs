//! The operator of an ensemble whose members change: lays down the files that servers start from, and writes them anew for a
//! server that they do not name any more. And what follows from who the members are: who has to serve, and who can be spared.

use super::members::{initial_config, static_file_text};
use super::server::{Server, data_directory};
use super::simulator::Simulator;
use super::checkers::Checked;
use super::disk::SimDisk;
use super::options::Options;
use crate::config::{CommandLine, ConfigError, EnsembleSettings, Given, load};
use crate::message::lane::Standing;
use crate::request::config_of;
use crate::types::{Quorum, QuorumConfig, ServerId};
use std::io;
use std::path::PathBuf;
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
    let mut read = |path: &std::path::Path| disk.contents(path).ok_or_else(|| io::ErrorKind::NotFound.into());
    let settings = load(&line, &mut read)?.settings;
    Ok(settings.ensemble.expect("files of a member of an ensemble"))
}

impl Simulator {
    /// Files for all of them, where members change.
    pub(super) fn lay_config_files(&mut self) {
        if !self.options.members.reconfig {
            return;
        }
        let config = initial_config(&self.options);
        for index in 0..self.servers.len() {
            let disk = self.servers[index].disk.clone();
            disk.create_directory(&PathBuf::from("/conf"));
            disk.create_directory(&PathBuf::from("/data"));
            disk.lay(&PathBuf::from("/data/myid"), format!("{}\n", Options::id_of(index).0).into_bytes());
            self.lay_static_file(index, &config);
        }
    }

    fn lay_static_file(&mut self, index: usize, config: &QuorumConfig) {
        let own = Options::id_of(index);
        let text = static_file_text(&self.options, &config.membership, own, &mut self.operator);
        self.servers[index].disk.lay(&static_file(), text.into_bytes());
    }

    /// A server that is no member does not start from what its files say: it is told who the members are now. What it has
    /// heard of and not known to be in force stays.
    pub(super) fn see_to_config_files(&mut self, index: usize) {
        if !self.options.members.reconfig || read_settings(&self.servers[index].disk).is_ok() {
            return;
        }
        self.counts.config_files_rewritten += 1;
        self.tell(|| format!("server {index} is told of the members anew"));
        let newest = self.configurations.newest().clone();
        self.lay_static_file(index, &newest);
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

    pub(super) fn ids_of<'a>(&self, servers: impl Iterator<Item = &'a Server>) -> std::collections::BTreeSet<ServerId> {
        servers.map(|server| Options::id_of(server.index)).collect()
    }
}

impl Server {
    /// Its newest configuration that is not known to be committed, as its file says.
    fn config_heard_of(&self) -> Option<QuorumConfig> {
        let text = self.disk.contents(&next_file())?;
        QuorumConfig::parse(&String::from_utf8_lossy(&text)).ok()
    }

    /// Files of its data directory.
    pub(super) fn data_files(&self) -> impl Iterator<Item = PathBuf> {
        let directory = data_directory();
        self.disk.paths().into_iter().filter(move |path| path.starts_with(&directory))
    }
}
