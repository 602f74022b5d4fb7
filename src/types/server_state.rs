//! What a server is doing, with the numbers that election notifications carry (quorum-protocol sheet §1).

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerState {
    Looking,
    Following,
    Leading,
    Observing,
}

impl ServerState {
    pub fn from_code(code: i32) -> Option<ServerState> {
        [ServerState::Looking, ServerState::Following, ServerState::Leading, ServerState::Observing]
            .into_iter()
            .find(|state| state.code() == code)
    }

    pub fn code(self) -> i32 {
        match self {
            ServerState::Looking => 0,
            ServerState::Following => 1,
            ServerState::Leading => 2,
            ServerState::Observing => 3,
        }
    }
}
