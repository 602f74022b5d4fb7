//! The handshake: a session is asked for, or asked for again, and granted or refused.

use crate::wire::{frame, int_at, put_bytes, put_int};

/// Up to the end of the password.
const CONNECT_RESPONSE_BYTES_MIN: usize = 36;
const PASSWORD_BYTES: usize = 16;

/// What a client shows to get its session back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub id: i64,
    pub password: [u8; PASSWORD_BYTES],
}

/// A ConnectRequest for a new session.
pub fn connect_request(session_timeout_ms: i32) -> Vec<u8> {
    attach_request(session_timeout_ms, 0, &Credentials::default())
}

/// A ConnectRequest for a session that is there already, or for a new one where its id is 0.
pub fn attach_request(session_timeout_ms: i32, last_zxid: i64, session: &Credentials) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, |out| {
        put_int(out, 0); // protocolVersion
        out.extend_from_slice(&last_zxid.to_be_bytes());
        put_int(out, session_timeout_ms);
        out.extend_from_slice(&session.id.to_be_bytes());
        put_bytes(out, &session.password);
        out.push(0); // readOnly
    });
    out
}

/// What a server said to a ConnectRequest.
#[derive(Debug, PartialEq, Eq)]
pub enum ConnectAnswer {
    Session { session: Credentials, timeout_ms: i32 },
    Refused,
}

/// True when a length prefix can be that of a ConnectResponse; anything else is not a ZooKeeper server.
pub fn is_connect_response_length(payload_bytes: i32) -> bool {
    let bytes_min = CONNECT_RESPONSE_BYTES_MIN as i32;
    (bytes_min..=bytes_min + 1).contains(&payload_bytes)
}

/// Reads a ConnectResponse payload; `None` when it is not one.
pub fn connect_answer(payload: &[u8]) -> Option<ConnectAnswer> {
    let timeout_ms = int_at(payload, 4)?;
    let session_id = i64::from_be_bytes(payload.get(8..16)?.try_into().ok()?);
    let password_bytes = int_at(payload, 16)?;
    if password_bytes != PASSWORD_BYTES as i32 || payload.len() < CONNECT_RESPONSE_BYTES_MIN {
        return None;
    }
    Some(if timeout_ms <= 0 || session_id == 0 {
        ConnectAnswer::Refused
    } else {
        let password = payload[20..20 + PASSWORD_BYTES].try_into().ok()?;
        ConnectAnswer::Session { session: Credentials { id: session_id, password }, timeout_ms }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    #[test]
    fn handshake_equals_the_captured_exchange() {
        let request =
            "0000002d 00000000 0000000000000000 00002710 0000000000000000 00000010 00000000000000000000000000000000 00";
        assert_eq!(connect_request(10_000), hex(request));
        let response = hex("00000000 00002710 0100001219cd0000 00000010 29d782eb02a46588af6c79fa1bc94e46 00");
        assert!(is_connect_response_length(response.len() as i32));
        let password = hex("29d782eb02a46588af6c79fa1bc94e46").try_into().expect("16 bytes");
        let session = Credentials { id: 0x0100_0012_19cd_0000, password };
        assert_eq!(connect_answer(&response), Some(ConnectAnswer::Session { session, timeout_ms: 10_000 }));
        let refused = hex("00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00");
        assert_eq!(connect_answer(&refused), Some(ConnectAnswer::Refused));
    }
}
