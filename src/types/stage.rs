//! The stages that a request passes through on its way, and the kinds of requests that are told apart when they are
//! timed. What each stage begins and ends with stands in `docs/latency.md`.

use super::op_code::OpCode;
use super::time::Instant;

/// Makes an enum whose variants index arrays and know their names.
macro_rules! named {
    ($(#[$doc:meta])* $enum:ident { $($(#[$variant_doc:meta])* $variant:ident => $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $enum { $($(#[$variant_doc])* $variant,)* }

        impl $enum {
            pub const ALL: [$enum; $enum::COUNT] = [$($enum::$variant,)*];
            pub const COUNT: usize = [$($enum::$variant,)*].len();

            pub fn name(self) -> &'static str {
                match self { $($enum::$variant => $name,)* }
            }

            pub fn index(self) -> usize {
                self as usize
            }
        }
    };
}

named! {
    /// In the order in which a write passes them.
    Stage {
    /// In the socket, while the worker's core was at something else.
    Socket => "socket",
    /// Behind those before it on its connection: a read behind writes, a write behind such a read.
    Order => "order",
    /// From the worker to the ensemble thread.
    Queue => "queue",
    /// Checked against the head of the tree and applied there, with everything else of the turn.
    Prepare => "prepare",
    /// Until the flush before it is over.
    LogWait => "log_wait",
    /// Into the mapped log.
    LogCopy => "log_copy",
    /// Onto the disk.
    Flush => "flush",
    /// A leader: from its proposal until a quorum has it on disk. Runs beside the three before it.
    Quorum => "quorum",
    /// A learner: to the leader, and back as a proposal.
    Forward => "forward",
    /// A learner: from the proposal to its commit.
    Commit => "commit",
    /// From its commit until its answer is on the way to the worker. On a learner the tree is changed here.
    Apply => "apply",
    /// Until the answer is handed to the socket. Of a read: all that is done for it.
    Reply => "reply",
    /// From the turn that took it off the socket until its answer is handed to the socket.
    Total => "total",
    }
}

named! {
    /// What clients ask for.
    Operation {
    Create => "create",
    Delete => "delete",
    SetData => "set_data",
    SetAcl => "set_acl",
    Multi => "multi",
    Reconfig => "reconfig",
    CreateSession => "create_session",
    CloseSession => "close_session",
    Sync => "sync",
    Exists => "exists",
    GetData => "get_data",
    GetAcl => "get_acl",
    GetChildren => "get_children",
    MultiRead => "multi_read",
    /// To set, look for and remove them.
    Watches => "watches",
    Ping => "ping",
    /// And what cannot be read; on learners also what has failed, as far as they log it.
    Other => "other",
    }
}

impl Operation {
    pub fn of(op: OpCode) -> Operation {
        match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => Operation::Create,
            OpCode::Delete | OpCode::DeleteContainer => Operation::Delete,
            OpCode::SetData => Operation::SetData,
            OpCode::SetAcl => Operation::SetAcl,
            OpCode::Multi => Operation::Multi,
            OpCode::Reconfig => Operation::Reconfig,
            OpCode::CreateSession => Operation::CreateSession,
            OpCode::CloseSession => Operation::CloseSession,
            OpCode::Sync => Operation::Sync,
            OpCode::Exists => Operation::Exists,
            OpCode::GetData => Operation::GetData,
            OpCode::GetAcl => Operation::GetAcl,
            OpCode::GetChildren | OpCode::GetChildren2 => Operation::GetChildren,
            OpCode::MultiRead => Operation::MultiRead,
            OpCode::CheckWatches
            | OpCode::RemoveWatches
            | OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::AddWatch => Operation::Watches,
            OpCode::Ping => Operation::Ping,
            OpCode::Error
            | OpCode::Check
            | OpCode::Auth
            | OpCode::Sasl
            | OpCode::GetEphemerals
            | OpCode::GetAllChildrenNumber
            | OpCode::WhoAmI => Operation::Other,
        }
    }
}

/// How many of each operation passed a stage together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationCounts([u32; Operation::COUNT]);

impl OperationCounts {
    pub fn count(&mut self, operation: Operation) {
        self.0[operation.index()] += 1;
    }

    /// Those that there are any of.
    pub fn iter(&self) -> impl Iterator<Item = (Operation, u64)> {
        Operation::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0).map(|(op, count)| (op, u64::from(count)))
    }

    pub fn total(&self) -> u64 {
        self.0.iter().copied().map(u64::from).sum()
    }
}

/// Reads the clock where a stage ends within a turn: once for everything that the turn handles together.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageClock(Option<fn() -> Instant>);

impl StageClock {
    /// Time stands still within a turn, as in the simulator.
    pub const STILL: StageClock = StageClock(None);

    pub fn reading(clock: fn() -> Instant) -> StageClock {
        StageClock(Some(clock))
    }

    /// Never before `turn_began`.
    pub fn read(self, turn_began: Instant) -> Instant {
        self.0.map_or(turn_began, |read| read().max(turn_began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opcode_has_its_operation_and_names_are_unique() {
        let seen: std::collections::BTreeSet<Operation> = OpCode::ALL.into_iter().map(Operation::of).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), Operation::ALL);
        let mut names: Vec<&str> = Operation::ALL.iter().map(|op| op.name()).collect();
        names.extend(Stage::ALL.iter().map(|stage| stage.name()));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_stage_and_operation_is_explained_in_the_manual() {
        let page = include_str!("../../docs/latency.md");
        for name in Stage::ALL.map(Stage::name).into_iter().chain(Operation::ALL.map(Operation::name)) {
            assert!(page.contains(&format!("| `{name}` |")), "{name}");
        }
    }

    #[test]
    fn counts_tell_only_what_there_is() {
        let mut counts = OperationCounts::default();
        assert_eq!((counts.total(), counts.iter().count()), (0, 0));
        [Operation::Ping, Operation::Create, Operation::Ping].into_iter().for_each(|op| counts.count(op));
        assert_eq!(counts.iter().collect::<Vec<_>>(), [(Operation::Create, 1), (Operation::Ping, 2)]);
        assert_eq!(counts.total(), 3);
    }

    #[test]
    fn a_clock_that_stands_still_says_when_the_turn_began() {
        let at = Instant::from_millis(5);
        assert_eq!(StageClock::STILL.read(at), at);
        assert_eq!(StageClock::reading(|| Instant::from_millis(7)).read(at), Instant::from_millis(7));
        assert_eq!(StageClock::reading(|| Instant::from_millis(3)).read(at), at);
    }
}
