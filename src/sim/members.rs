//! Who the members of a simulated ensemble are, and how an operator changes that: the lines a server starts with, the requests
//! that add, remove, move and change members, and what the operator writes for a server that its own files do not name.

use super::options::{ELECTION_PORT, Options, QUORUM_PORT};
use super::random::Random;
use crate::message::WriteOp;
use crate::types::{Membership, QuorumConfig, Role, ServerId};
use std::collections::BTreeMap;
use std::fmt::Write;

const CLIENT_PORT: u16 = 2181;
/// A member that is moved goes to one of so many pairs of ports.
const PORT_PAIRS: u64 = 3;
/// Members change in so many seeds.
const SEEDS_WITH_RECONFIG: (u64, u64) = (1, 3);

#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// `reconfigEnabled`: members change, and stand in files.
    pub reconfig: bool,
    /// `standaloneEnabled`: there are two voters at least.
    pub standalone_enabled: bool,
    /// Servers that are no members at first.
    pub spares: usize,
    /// Of so many requests of an operator one is for other members.
    pub asked_one_in: u64,
    /// Member lines name the client port; else it stands for itself.
    pub lines_name_client: bool,
    /// `group` and `weight` lines of the first configuration.
    pub groups: Vec<String>,
}

/// One seed of so many has groups, where there are enough voters for them.
const GROUPS_ONE_IN: u64 = 6;
const VOTERS_WITH_GROUPS_MIN: usize = 3;

impl MemberOptions {
    /// Members that stay who they are.
    fn fixed(groups: Vec<String>) -> MemberOptions {
        MemberOptions {
            reconfig: false,
            standalone_enabled: true,
            spares: 0,
            asked_one_in: 0,
            lines_name_client: false,
            groups,
        }
    }

    pub fn draw(random: &mut Random, voters: usize) -> MemberOptions {
        let (times, of) = SEEDS_WITH_RECONFIG;
        let changes = random.chance(times, of);
        let groups = if voters >= VOTERS_WITH_GROUPS_MIN && random.chance(1, GROUPS_ONE_IN) {
            let ids: Vec<ServerId> = (0..voters).map(Options::id_of).collect();
            groups(&ids, random)
        } else {
            Vec::new()
        };
        if !changes {
            return MemberOptions::fixed(groups);
        }
        MemberOptions {
            reconfig: true,
            standalone_enabled: voters > 1 && random.chance(1, 2),
            spares: random.below(3) as usize,
            asked_one_in: [10, 30, 80][random.below(3) as usize],
            lines_name_client: random.chance(1, 2),
            groups,
        }
    }
}

/// Every voter in one of up to three groups; some weigh more than others, or nothing.
fn groups(voters: &[ServerId], random: &mut Random) -> Vec<String> {
    let mut groups: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut lines = Vec::new();
    for (place, id) in voters.iter().enumerate() {
        groups.entry(1 + random.below(3)).or_default().push(id.0.to_string());
        if random.chance(1, 3) {
            // Not all of them weigh nothing.
            let weight = random.below(4).max(u64::from(place == 0));
            lines.push(format!("weight.{}={weight}", id.0));
        }
    }
    lines.extend(groups.into_iter().map(|(group, ids)| format!("group.{group}={}", ids.join(":"))));
    lines
}

/// The line of a member; its ports are the usual ones, or others.
fn line(id: ServerId, role: Role, ports: u64, names_client: bool) -> String {
    let host = Options::host_of(id.0 as usize - 1);
    let (quorum, election) = (QUORUM_PORT + ports as u16, ELECTION_PORT + ports as u16);
    let client = if names_client { format!(";{CLIENT_PORT}") } else { String::new() };
    format!("server.{}={host}:{quorum}:{election}:{role}{client}", id.0)
}

pub fn initial_config(options: &Options) -> QuorumConfig {
    let mut text = String::new();
    for index in 0..options.voters + options.observers {
        let role = if index < options.voters { Role::Participant } else { Role::Observer };
        let _ = writeln!(text, "{}", line(Options::id_of(index), role, 0, options.members.lines_name_client));
    }
    text.push_str(&options.members.groups.join("\n"));
    QuorumConfig::parse(&text).expect("a configuration that was written here")
}

/// What an operator writes into a server's static file, beside where the members are.
pub fn static_lines(options: &Options) -> String {
    format!(
        "tickTime={}\ninitLimit={}\nsyncLimit={}\ndataDir=/data\nclientPort={CLIENT_PORT}\n\
         reconfigEnabled=true\nstandaloneEnabled={}\n",
        options.limits.tick_ms,
        options.limits.init_ticks,
        options.limits.sync_ticks,
        options.members.standalone_enabled
    )
}

/// These members, and a server that is none yet.
pub fn with_joiner(options: &Options, members: &Membership, own: ServerId, role: Role) -> Membership {
    let mut members = members.clone();
    // Whoever is in no group has no vote.
    let role = if members.is_hierarchical() { Role::Observer } else { role };
    if !members.members.contains_key(&own) {
        let own_line = line(own, role, 0, options.members.lines_name_client);
        let (key, value) = own_line.split_once('=').expect("a line");
        members.add(key, value).expect("a line that was written here");
    }
    members
}

/// What an operator asks for next, when `newest` is in force.
pub fn change(options: &Options, newest: &QuorumConfig, random: &mut Random) -> WriteOp {
    let config_id = match random.below(8) {
        0..=3 => -1,
        4..=6 => newest.version,
        // Of the one before, perhaps.
        _ => newest.version - 1,
    };
    // Groups change as a whole only; at times somebody tries the other way all the same.
    let whole_one_in = if newest.membership.is_hierarchical() { 2 } else { 6 };
    let (joining, leaving, new_members) = match random.below(whole_one_in) {
        0 => (None, None, Some(whole(options, random))),
        _ => {
            let (joining, leaving) = increments(options, newest, random);
            (joining, leaving, None)
        }
    };
    WriteOp::Reconfig { joining, leaving, new_members, config_id }
}

/// Members by name, each with a role: somebody joins, leaves, is replaced, moves, or becomes what it was not.
fn increments(options: &Options, newest: &QuorumConfig, random: &mut Random) -> (Option<String>, Option<String>) {
    let members = &newest.membership.members;
    let inside: Vec<ServerId> = members.keys().copied().collect();
    let outside: Vec<ServerId> =
        (0..options.servers()).map(Options::id_of).filter(|id| !members.contains_key(id)).collect();
    let somebody = random.pick(&inside).copied();
    let somebody_else = random.pick(&outside).copied();
    let role = if random.chance(2, 3) { Role::Participant } else { Role::Observer };
    let ports = random.below(PORT_PAIRS);
    let joins = |id: ServerId, role: Role, ports: u64| line(id, role, ports, true);
    let leaves = |id: ServerId| id.0.to_string();
    match (random.below(6), somebody, somebody_else) {
        (0, Some(out), _) => (None, Some(leaves(out))),
        (1 | 2, _, Some(new)) => (Some(joins(new, role, 0)), None),
        (3, Some(out), Some(new)) => (Some(joins(new, role, 0)), Some(leaves(out))),
        (4, Some(moved), _) => (Some(joins(moved, role, ports)), None),
        (_, Some(changed), _) => {
            let other = if newest.membership.is_voter(changed) { Role::Observer } else { Role::Participant };
            (Some(joins(changed, other, 0)), None)
        }
        (_, None, _) => (None, None),
    }
}

/// All of them anew.
fn whole(options: &Options, random: &mut Random) -> String {
    let (mut lines, mut voters) = (Vec::new(), Vec::new());
    for id in (0..options.servers()).map(Options::id_of) {
        match random.below(8) {
            0..=4 => {
                voters.push(id);
                lines.push(line(id, Role::Participant, 0, true));
            }
            5 => lines.push(line(id, Role::Observer, 0, true)),
            _ => {}
        }
    }
    if !options.members.groups.is_empty() && random.chance(2, 3) {
        lines.extend(groups(&voters, random));
    }
    lines.join(",")
}
