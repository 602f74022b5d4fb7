//! How a connection comes by its ids: the auth packet, the address it was accepted from, and what `whoAmI` and enforced
//! authentication make of the ids (client-protocol sheet §17.3, §17.6). What the ids permit is `permission.rs`'s.

use super::address;
use super::permission::SUPER_SCHEME;
use crate::message::AuthPacket;
use crate::types::{DigestAlgorithm, Id};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use std::net::IpAddr;

/// The settings of authentication; fixed for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRules {
    /// `None` when `DigestAuthenticationProvider.enabled=false`.
    pub digest: Option<DigestRules>,
    /// Scheme `ensemble` when its provider is named: the names that are let in; none listed lets everybody in.
    pub ensemble: Option<Vec<String>>,
    /// `enforce.auth.schemes`, or `sasl` with `sessionRequireClientSASLAuth`; empty enforces nothing.
    pub enforced_schemes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestRules {
    pub algorithm: DigestAlgorithm,
    /// `DigestAuthenticationProvider.superDigest`, `user:hash`.
    pub super_digest: Option<String>,
}

impl Default for AuthRules {
    fn default() -> AuthRules {
        AuthRules {
            digest: Some(DigestRules { algorithm: DigestAlgorithm::Sha1, super_digest: None }),
            ensemble: None,
            enforced_schemes: Vec::new(),
        }
    }
}

fn base64_of(algorithm: DigestAlgorithm, text: &str) -> String {
    fn hash<D: Digest>(text: &str) -> String {
        STANDARD.encode(D::digest(text.as_bytes()))
    }
    match algorithm {
        DigestAlgorithm::Md5 => hash::<Md5>(text),
        DigestAlgorithm::Sha1 => hash::<Sha1>(text),
        DigestAlgorithm::Sha224 => hash::<Sha224>(text),
        DigestAlgorithm::Sha256 => hash::<Sha256>(text),
        DigestAlgorithm::Sha384 => hash::<Sha384>(text),
        DigestAlgorithm::Sha512 => hash::<Sha512>(text),
        DigestAlgorithm::Sha512Of224 => hash::<Sha512_224>(text),
        DigestAlgorithm::Sha512Of256 => hash::<Sha512_256>(text),
    }
}

/// The id text that proves `user:password`: `user:base64(hash("user:password"))`.
pub fn digest_id(user_and_password: &str, algorithm: DigestAlgorithm) -> String {
    let user = user_of_digest(user_and_password);
    format!("{user}:{}", base64_of(algorithm, user_and_password))
}

/// What becomes of an auth packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthVerdict {
    Accepted,
    /// Answered by -115, then the connection is closed.
    Failed,
    /// The connection is closed without an answer.
    Closed,
}

/// The ids of a connection before any auth packet.
pub fn ids_at_connect(peer: IpAddr) -> Vec<Id> {
    vec![Id::new("ip", &address::text(peer))]
}

/// Handles an auth packet; `ids` grows by what it proves. SASL has its own opcode, and a TLS certificate speaks for
/// itself at the handshake, so both fail here like a scheme nobody knows.
pub fn authenticate(packet: &AuthPacket<'_>, peer: IpAddr, ids: &mut Vec<Id>, rules: &AuthRules) -> AuthVerdict {
    match (packet.scheme, &rules.digest, &rules.ensemble) {
        (Some("ip"), ..) => {
            add(ids, Id::new("ip", &address::text(peer)));
            AuthVerdict::Accepted
        }
        (Some("digest"), Some(digest), _) => match packet.auth {
            Some(payload) => {
                add_digest(&String::from_utf8_lossy(payload), digest, ids);
                AuthVerdict::Accepted
            }
            None => AuthVerdict::Failed,
        },
        (Some("ensemble"), _, Some(names)) => {
            let claimed = String::from_utf8_lossy(packet.auth.unwrap_or_default());
            if claimed.is_empty() || names.is_empty() || names.iter().any(|name| *name == claimed) {
                AuthVerdict::Accepted
            } else {
                AuthVerdict::Closed
            }
        }
        _ => AuthVerdict::Failed,
    }
}

fn add_digest(user_and_password: &str, rules: &DigestRules, ids: &mut Vec<Id>) {
    let id = digest_id(user_and_password, rules.algorithm);
    if rules.super_digest.as_ref() == Some(&id) {
        add(ids, Id::new(SUPER_SCHEME, ""));
    }
    add(ids, Id::new("digest", &id));
}

/// Proving the same thing twice changes nothing.
fn add(ids: &mut Vec<Id>, id: Id) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

/// The user name `whoAmI` shows for an id.
pub fn user_name(id: &Id) -> &str {
    match id.scheme.as_str() {
        "digest" => user_of_digest(&id.id),
        "ip" | "sasl" | "x509" => &id.id,
        _ => "",
    }
}

fn user_of_digest(text: &str) -> &str {
    text.split_once(':').map_or(text, |(user, _)| user)
}

impl AuthRules {
    /// Whether requests other than auth and sasl are to be served to somebody who holds `ids`; else -124 and close.
    pub fn is_satisfied_by(&self, ids: &[Id]) -> bool {
        self.enforced_schemes.is_empty() || ids.iter().any(|id| self.enforced_schemes.contains(&id.scheme))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn packet<'a>(scheme: &'a str, auth: &'a str) -> AuthPacket<'a> {
        AuthPacket { kind: 0, scheme: Some(scheme), auth: Some(auth.as_bytes()) }
    }

    #[test]
    fn digests_are_the_ones_java_computes() {
        for (text, algorithm, expected) in [
            ("u:p", "SHA1", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="),
            ("super:test", "sha-1", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
            ("u:p", "MD5", "u:wj9ntl1lUHd6RGlGHs+1Hg=="),
            ("u:p", "SHA-224", "u:buY2RDLG1qb161QWn3zO7zdHv1Jw5JzOzvoq8w=="),
            ("u:p", "SHA256", "u:/Y8xRBngpX5duYn15uUqIRaIaCviy5TEwSk419hCwuA="),
            ("u:p", "SHA-512/224", "u:uQhd9bjKXP6GHJndVVZ2qIjzcJFAYrjzPmzxOg=="),
            ("u:p", "SHA512/256", "u:GahcuEqKVDomB4u/ebwuUp9/SoZ9jjQVdblytNb5wPo="),
        ] {
            let algorithm = DigestAlgorithm::from_name(algorithm).unwrap();
            assert_eq!(digest_id(text, algorithm), expected);
        }
        assert_eq!(DigestAlgorithm::from_name("rot13"), None);
    }

    #[test]
    fn a_digest_packet_adds_its_id_once() {
        let mut ids = ids_at_connect(PEER);
        for _ in 0..2 {
            let verdict = authenticate(&packet("digest", "u:p"), PEER, &mut ids, &AuthRules::default());
            assert_eq!(verdict, AuthVerdict::Accepted);
        }
        let digest = Id::new("digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=");
        assert_eq!(ids, [Id::new("ip", "127.0.0.1"), digest]);
        let shown: Vec<_> = ids.iter().map(user_name).collect();
        assert_eq!(shown, ["127.0.0.1", "u"]);
        assert_eq!(user_name(&Id::new("super", "")), "");
        assert_eq!(user_name(&Id::new("digest", "nohash")), "nohash");
    }

    #[test]
    fn the_super_digest_makes_a_super_user() {
        let mut rules = AuthRules::default();
        rules.digest.as_mut().unwrap().super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned());
        let mut ids = Vec::new();
        authenticate(&packet("digest", "super:wrong"), PEER, &mut ids, &rules);
        assert!(ids.iter().all(|id| id.scheme != SUPER_SCHEME));
        authenticate(&packet("digest", "super:test"), PEER, &mut ids, &rules);
        assert!(ids.contains(&Id::new("super", "")));
    }

    #[test]
    fn what_cannot_be_proven_fails() {
        let without_digest = AuthRules { digest: None, ..AuthRules::default() };
        let no_payload = AuthPacket { auth: None, ..packet("digest", "") };
        let no_scheme = AuthPacket { scheme: None, ..packet("", "u:p") };
        for (packet, rules) in [
            (packet("digest", "u:p"), &without_digest),
            (no_payload, &AuthRules::default()),
            (no_scheme, &AuthRules::default()),
            (packet("auth", ""), &AuthRules::default()),
            (packet("world", "anyone"), &AuthRules::default()),
            (packet("sasl", "bob"), &AuthRules::default()),
            (packet("x509", ""), &AuthRules::default()),
            (packet("super", ""), &AuthRules::default()),
            (packet("ensemble", "x"), &AuthRules::default()),
        ] {
            let mut ids = Vec::new();
            let verdict = authenticate(&packet, PEER, &mut ids, rules);
            assert_eq!((verdict, ids.len()), (AuthVerdict::Failed, 0), "{packet:?}");
        }
    }

    #[test]
    fn ip_needs_no_proof_and_ensemble_adds_nothing() {
        let mut ids = Vec::new();
        let rules = AuthRules { ensemble: Some(vec!["east".to_owned(), "west".to_owned()]), ..AuthRules::default() };
        for (scheme, payload, expected) in [
            ("ip", "anything", AuthVerdict::Accepted),
            ("ensemble", "west", AuthVerdict::Accepted),
            ("ensemble", "", AuthVerdict::Accepted),
            ("ensemble", "north", AuthVerdict::Closed),
        ] {
            let verdict = authenticate(&packet(scheme, payload), PEER, &mut ids, &rules);
            assert_eq!(verdict, expected, "{scheme}:{payload}");
        }
        assert_eq!(ids, [Id::new("ip", "127.0.0.1")]);
    }

    #[test]
    fn enforced_schemes_want_one_id_of_theirs() {
        let open = AuthRules::default();
        assert!(open.is_satisfied_by(&[]));
        let strict =
            AuthRules { enforced_schemes: vec!["digest".to_owned(), "sasl".to_owned()], ..AuthRules::default() };
        assert!(!strict.is_satisfied_by(&[Id::new("ip", "127.0.0.1")]));
        assert!(strict.is_satisfied_by(&[Id::new("sasl", "bob")]));
    }
}
