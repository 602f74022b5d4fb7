//! The session password: 16 bytes that are a pure function of the session id, so that every server of an ensemble,
//! a Java one included, computes the same (`ZooKeeperServer.generatePasswd`). It keeps honest clients from
//! mixing up their sessions; it is no secret to anybody who knows the function.

use crate::types::SessionId;

pub const PASSWORD_BYTES: usize = 16;

/// Mixed into the id before it seeds the generator.
const SEED_MASK: i64 = 0xB341_5C00;

/// The generator of `java.util.Random`: 48 bits of state, the upper 32 of them are given out.
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const STATE_MASK: u64 = (1 << 48) - 1;

/// The password of `session`.
pub fn password(session: SessionId) -> [u8; PASSWORD_BYTES] {
    let mut state = ((session.0 ^ SEED_MASK) as u64 ^ MULTIPLIER) & STATE_MASK;
    let mut bytes = [0; PASSWORD_BYTES];
    for word in bytes.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & STATE_MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    bytes
}

/// Whether `claimed` opens `session`. No password opens the null session.
pub fn password_matches(session: SessionId, claimed: Option<&[u8]>) -> bool {
    session != SessionId::NONE && claimed == Some(&password(session)[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen on a Java server.
    const KNOWN: SessionId = SessionId(0x0100_0012_19cd_0000);
    const KNOWN_PASSWORD: [u8; 16] =
        [0x29, 0xd7, 0x82, 0xeb, 0x02, 0xa4, 0x65, 0x88, 0xaf, 0x6c, 0x79, 0xfa, 0x1b, 0xc9, 0x4e, 0x46];

    #[test]
    fn passwords_are_the_ones_java_hands_out() {
        assert_eq!(password(KNOWN), KNOWN_PASSWORD);
    }

    #[test]
    fn only_the_whole_password_of_a_real_session_matches() {
        assert!(password_matches(KNOWN, Some(&KNOWN_PASSWORD)));
        assert!(!password_matches(KNOWN, Some(&KNOWN_PASSWORD[..15])));
        assert!(!password_matches(KNOWN, Some(&[])));
        assert!(!password_matches(KNOWN, None));
        assert!(!password_matches(SessionId(KNOWN.0 + 1), Some(&KNOWN_PASSWORD)));
        let null = password(SessionId::NONE);
        assert!(!password_matches(SessionId::NONE, Some(&null)));
    }
}
