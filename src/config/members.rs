//! Who the servers are: member lines from the static or the dynamic file, `myid`, and what follows from both. Decides
//! between a server on its own and a member of an ensemble, as ZooKeeper's `QuorumPeerConfig` does.

use super::ensemble::{EnsembleSettings, Who, ensemble_settings};
use super::error::{ConfigError, Source};
use super::load::{ReadFile, entries, read_file};
use super::settings::Settings;
use super::sources::Sources;
use crate::types::host::is_wildcard_host;
use crate::types::{Membership, QuorumConfig, Role, ServerId};
use std::io;
use std::path::{Path, PathBuf};

/// Added to the static file's name: the configuration last heard of.
const NEXT_SUFFIX: &str = ".dynamic.next";

/// Fills in members, ids, client address and, if there is an ensemble, its settings.
pub(super) fn add_membership(
    settings: &mut Settings,
    s: &mut Sources,
    origin: &Source,
    read: ReadFile<'_>,
) -> Result<(), ConfigError> {
    let members = member_lines(s, read)?;
    let at = member_lines_at(s, origin);
    settings.my_id = my_id(&settings.data_dir, read)?;
    let (voters, observers) = (members.voters(), members.observers());
    let standalone_enabled = s.bool("standaloneEnabled");
    if voters == 0 && !standalone_enabled {
        let reason = "is false, so there must be server lines with at least one voter";
        return Err(s.error("standaloneEnabled", origin, reason));
    }
    if observers > 0 && (voters == 0 || voters == 1 && standalone_enabled) {
        return Err(ConfigError::new(&at, "observers need an ensemble of voters"));
    }
    if voters > 1 || voters == 1 && !standalone_enabled {
        settings.ensemble = Some(ensemble(settings, &members, s, origin, &at, read)?);
    } else if voters == 1 {
        s.warn(at.clone(), "only one server is named, so it runs standalone".to_owned());
    }
    take_client_address(settings, &members, &at)?;
    settings.membership = members;
    Ok(())
}

/// Where to point at when something is wrong with the members as a whole.
fn member_lines_at(s: &Sources, origin: &Source) -> Source {
    match (s.text("dynamicConfigFile"), s.all().find(|(key, _)| Membership::owns(key))) {
        (Some(file), _) => Source::File { file: file.into() },
        (None, Some((_, item))) => item.source.clone(),
        (None, None) => origin.clone(),
    }
}

fn member_lines(s: &Sources, read: ReadFile<'_>) -> Result<Membership, ConfigError> {
    let mut members = Membership::default();
    let Some(file) = s.text("dynamicConfigFile").map(PathBuf::from) else {
        for (key, item) in s.all().filter(|(key, _)| Membership::owns(key)) {
            add(&mut members, key, &item.text, &item.source)?;
        }
        return Ok(members);
    };
    if let Some((key, item)) = s.all().find(|(key, _)| Membership::owns(key)) {
        let reason = format!("{key}: must stand in the dynamic file {}", file.display());
        return Err(ConfigError::new(&item.source, reason));
    }
    let bytes = read_file(&file, read)?;
    for (key, text, source) in entries(&file, &bytes)? {
        if !Membership::owns(&key) {
            let reason = format!("{key}: only server, group and weight lines belong into a dynamic file");
            return Err(ConfigError::new(&source, reason));
        }
        add(&mut members, &key, &text, &source)?;
    }
    Ok(members)
}

fn add(members: &mut Membership, key: &str, text: &str, source: &Source) -> Result<(), ConfigError> {
    members.add(key, text).map_err(|why| ConfigError::new(source, format!("{key}: {why}")))
}

/// The number in `dataDir/myid`; a standalone server needs none, but a broken one is refused as ZooKeeper does.
fn my_id(data_dir: &Path, read: ReadFile<'_>) -> Result<Option<ServerId>, ConfigError> {
    let file = data_dir.join("myid");
    let Some(bytes) = read_if_there(&file, read)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    let first = text.lines().next().unwrap_or_default();
    match first.parse() {
        Ok(id) => Ok(Some(ServerId(id))),
        Err(_) => Err(ConfigError::new(&Source::File { file }, format!("a server id expected, found `{first}`"))),
    }
}

fn read_if_there(file: &Path, read: ReadFile<'_>) -> Result<Option<Vec<u8>>, ConfigError> {
    match read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => {
            let at = Source::File { file: file.to_path_buf() };
            Err(ConfigError::new(&at, format!("cannot be read: {why}")))
        }
    }
}

/// What only a member of an ensemble must have and may have.
fn ensemble(
    settings: &Settings,
    members: &Membership,
    s: &mut Sources,
    origin: &Source,
    at: &Source,
    read: ReadFile<'_>,
) -> Result<EnsembleSettings, ConfigError> {
    members.check_groups().map_err(|why| ConfigError::new(at, why))?;
    check_addresses(members, s, at)?;
    let Source::File { file: static_file } = origin else {
        return Err(ConfigError::new(at, "an ensemble needs a configuration file"));
    };
    let dynamic_file = s.text("dynamicConfigFile").map(PathBuf::from);
    let version =
        dynamic_file.as_ref().and_then(|file| QuorumConfig::version_in_file_name(&file.to_string_lossy())).unwrap_or(0);
    let who = Who {
        my_id: settings.my_id,
        config: QuorumConfig { membership: members.clone(), version },
        last_seen: last_seen(static_file, read)?.filter(|next| next.version > version),
        static_file: static_file.clone(),
        dynamic_file,
    };
    let ensemble = ensemble_settings(s, who, settings.tick_time_ms, at)?;
    warn_of_other_role(ensemble.role, s, at);
    s.warn_member_of_unused();
    Ok(ensemble)
}

/// Half of an ensemble that speaks to several addresses and half that does not would not find each other.
fn check_addresses(members: &Membership, s: &Sources, at: &Source) -> Result<(), ConfigError> {
    let several = members.members.values().find(|member| member.addresses.len() > 1);
    match several {
        Some(member) if !s.bool("multiAddress.enabled") => {
            let reason = format!("server.{} has several addresses, but multiAddress.enabled is false", member.id.0);
            Err(ConfigError::new(at, reason))
        }
        _ => Ok(()),
    }
}

fn last_seen(static_file: &Path, read: ReadFile<'_>) -> Result<Option<QuorumConfig>, ConfigError> {
    let mut name = static_file.as_os_str().to_owned();
    name.push(NEXT_SUFFIX);
    let file = PathBuf::from(name);
    let Some(bytes) = read_if_there(&file, read)? else {
        return Ok(None);
    };
    let config = QuorumConfig::parse(&String::from_utf8_lossy(&bytes));
    config.map(Some).map_err(|why| ConfigError::new(&Source::File { file }, why.to_string()))
}

fn warn_of_other_role(role: Role, s: &mut Sources, at: &Source) {
    let written = s.text("peerType").unwrap_or_default();
    if written != role.to_string() {
        let source = s.given("peerType").map_or(at, |item| &item.source).clone();
        s.warn(source, format!("peerType: {role} is used instead of {written}, as this server's member line says"));
    }
}

/// The client part of this server's own member line counts; where `clientPort` is given too they must agree.
fn take_client_address(settings: &mut Settings, members: &Membership, at: &Source) -> Result<(), ConfigError> {
    let own = settings.my_id.and_then(|id| members.members.get(&id));
    let Some(client) = own.and_then(|own| own.client.clone()) else {
        return Ok(());
    };
    let same_port = settings.client_port.is_none_or(|port| port == client.port);
    let any_host = settings.client_host.as_deref().is_none_or(is_wildcard_host);
    if !(same_port && (any_host || settings.client_host == client.host)) {
        let reason = "the client address of this server's line and clientPort/clientPortAddress differ";
        return Err(ConfigError::new(at, reason));
    }
    settings.client_port = Some(client.port);
    settings.client_host = client.host;
    Ok(())
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
