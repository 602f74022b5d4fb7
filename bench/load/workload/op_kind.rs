//! What is measured apart: every kind has a latency distribution of its own.

/// One kind of measured operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    Get,
    Exists,
    List,
    Set,
    Create,
    Delete,
    Multi,
    MultiRead,
    /// sync and getData of the same znode, sent together: until the data is there.
    SyncGet,
    /// From the create of a sequential ephemeral until it is the first of its queue.
    Lock,
    /// The delete of that ephemeral.
    Unlock,
    /// From the start of a TCP connection until the session is there.
    Connect,
    /// closeSession.
    Close,
    /// From a cut connection until the session is attached again and its watches are set.
    Reconnect,
    /// From the write that fires a watch until its event is there.
    Event,
    /// A whole storm: until the last event or the last reconnection.
    Storm,
}

impl OpKind {
    pub const ALL: [OpKind; 16] = [
        OpKind::Get,
        OpKind::Exists,
        OpKind::List,
        OpKind::Set,
        OpKind::Create,
        OpKind::Delete,
        OpKind::Multi,
        OpKind::MultiRead,
        OpKind::SyncGet,
        OpKind::Lock,
        OpKind::Unlock,
        OpKind::Connect,
        OpKind::Close,
        OpKind::Reconnect,
        OpKind::Event,
        OpKind::Storm,
    ];

    /// Its name in tables, in JSON and as a tag of HDR logs.
    pub fn name(self) -> &'static str {
        match self {
            OpKind::Get => "get",
            OpKind::Exists => "exists",
            OpKind::List => "list",
            OpKind::Set => "set",
            OpKind::Create => "create",
            OpKind::Delete => "delete",
            OpKind::Multi => "multi",
            OpKind::MultiRead => "multi-read",
            OpKind::SyncGet => "sync-get",
            OpKind::Lock => "lock",
            OpKind::Unlock => "unlock",
            OpKind::Connect => "connect",
            OpKind::Close => "close",
            OpKind::Reconnect => "reconnect",
            OpKind::Event => "watch-event",
            OpKind::Storm => "storm",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_all_kinds_is_in_the_order_of_their_numbers() {
        assert!(OpKind::ALL.iter().enumerate().all(|(number, kind)| *kind as usize == number));
    }
}
