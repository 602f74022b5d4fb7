//! Stat as stored and as shown, and what a stored `ephemeralOwner` means (client-protocol sheet §12, §13).

use super::{SessionId, Zxid};

/// A znode's bookkeeping as it is stored in snapshots and hashed into digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StatPersisted {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// Number of creates under this node; clients see `2 * cversion - children`.
    pub cversion: i32,
    pub aversion: i32,
    /// Raw: session, container mark or TTL; see `EphemeralOwner`.
    pub ephemeral_owner: i64,
    pub pzxid: Zxid,
}

/// A znode's bookkeeping as clients see it (68 bytes on the wire).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stat {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    /// 0 unless the node is ephemeral.
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: Zxid,
}

/// What a stored owner means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EphemeralOwner {
    Persistent,
    Session(SessionId),
    Container,
    Ttl { ttl_ms: i64 },
}

/// The two settings that change the meaning of a stored owner; fixed for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OwnerRules {
    /// `zookeeper.extendedTypesEnabled`
    pub extended_types: bool,
    /// `zookeeper.emulate353TTLNodes`
    pub emulate_353_ttl: bool,
}

impl EphemeralOwner {
    pub const CONTAINER_RAW: i64 = i64::MIN;
    const TTL_MARK: u64 = 0xff00_0000_0000_0000;
    const TTL_353_MARK: u64 = 0x8000_0000_0000_0000;
    /// Largest TTL in milliseconds: 40 bits.
    pub const TTL_MS_MAX: i64 = 0xff_ffff_ffff;

    /// `EphemeralType.get`. A foreign extended type (top byte 0xff, feature not TTL) is kept as persistent.
    pub fn from_raw(raw: i64, rules: OwnerRules) -> EphemeralOwner {
        if rules.extended_types {
            if rules.emulate_353_ttl
                && raw < 0
                && raw != Self::CONTAINER_RAW
                && raw as u64 & Self::TTL_MARK != Self::TTL_MARK
            {
                return EphemeralOwner::Ttl { ttl_ms: (raw as u64 & !Self::TTL_353_MARK) as i64 };
            }
            if raw as u64 & Self::TTL_MARK == Self::TTL_MARK {
                return EphemeralOwner::Ttl { ttl_ms: raw & Self::TTL_MS_MAX };
            }
        } else if rules.emulate_353_ttl && raw < 0 && raw != Self::CONTAINER_RAW {
            return EphemeralOwner::Ttl { ttl_ms: (raw as u64 & !Self::TTL_353_MARK) as i64 };
        }
        match raw {
            Self::CONTAINER_RAW => EphemeralOwner::Container,
            0 => EphemeralOwner::Persistent,
            session => EphemeralOwner::Session(SessionId(session)),
        }
    }

    /// The stored form of a new node's owner.
    pub fn to_raw(self) -> i64 {
        match self {
            EphemeralOwner::Persistent => 0,
            EphemeralOwner::Session(session) => session.0,
            EphemeralOwner::Container => Self::CONTAINER_RAW,
            EphemeralOwner::Ttl { ttl_ms } => (Self::TTL_MARK | ttl_ms as u64) as i64,
        }
    }

    /// What clients see: the session, or 0.
    pub fn shown(self) -> i64 {
        match self {
            EphemeralOwner::Session(session) => session.0,
            _ => 0,
        }
    }
}
