//! Who may do what: the check of an ACL against the ids a connection holds, the fix-up of a list a client sends, and
//! what each scheme takes for a valid id and for a match (client-protocol sheet §17.1 to §17.4). How a connection comes
//! by its ids is `auth.rs`'s business.

use super::address::{is_valid_pattern, pattern_matches};
use super::x500;
use crate::types::{Acl, ErrorCode, Id};

/// The settings that decide about access; fixed for the life of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRules {
    /// `zookeeper.skipACL=yes`: every check passes.
    pub skip_acl: bool,
    /// `zookeeper.DigestAuthenticationProvider.enabled`
    pub digest: bool,
    pub sasl: Option<SaslRules>,
    pub x509: Option<X509Rules>,
}

/// Scheme `sasl` is usable (`authProvider.N=…SASLAuthenticationProvider`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaslRules {
    /// `zookeeper.letAnySaslUserDoX`: an ACL id that every SASL user matches.
    pub any_user_id: Option<String>,
}

/// Scheme `x509` is usable (secureClientPort is set, or the provider is named).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct X509Rules {
    /// `zookeeper.X509AuthenticationProvider.superUser`
    pub super_user: Option<String>,
}

impl Default for AccessRules {
    fn default() -> AccessRules {
        AccessRules { skip_acl: false, digest: true, sasl: None, x509: None }
    }
}

/// Scheme of the id that passes every check; held, never listed.
pub const SUPER_SCHEME: &str = "super";

impl AccessRules {
    /// `ZooKeeperServer.checkACL`: does somebody who holds `ids` have one of the `wanted` bits on `acl`?
    pub fn check(&self, acl: &[Acl], wanted: i32, ids: &[Id]) -> Result<(), ErrorCode> {
        // Nearly every list is open: look there before anything else.
        if acl.iter().any(|entry| entry.perms & wanted != 0 && is_world(&entry.id))
            || self.skip_acl
            || acl.is_empty()
            || ids.iter().any(|id| id.scheme == SUPER_SCHEME)
        {
            return Ok(());
        }
        let granted = acl.iter().any(|entry| {
            entry.perms & wanted != 0
                && ids.iter().any(|held| held.scheme == entry.id.scheme && self.matches(&held.id, &entry.id))
        });
        if granted { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    /// Whether `held`, an id text of the same scheme, is whom `listed` means. No provider, no match.
    fn matches(&self, held: &str, listed: &Id) -> bool {
        match listed.scheme.as_str() {
            "ip" => pattern_matches(held, &listed.id),
            "digest" => self.digest && held == listed.id,
            "sasl" => self.sasl.as_ref().is_some_and(|rules| {
                held == listed.id || held == SUPER_SCHEME || rules.any_user_id.as_ref() == Some(&listed.id)
            }),
            "x509" => {
                self.x509.as_ref().is_some_and(|rules| held == listed.id || rules.super_user.as_deref() == Some(held))
            }
            _ => false,
        }
    }

    /// `fixupACL`: the list as it is stored. Duplicates go, `auth` becomes the authenticated ids of the connection,
    /// anything else must be an id its scheme takes for valid. Permission bits are nobody's concern here.
    pub fn fix_up(&self, acl: Option<Vec<Acl>>, ids: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
        let mut list = acl.unwrap_or_default();
        if list.is_empty() {
            return Err(ErrorCode::InvalidAcl);
        }
        drop_repeats(&mut list);
        if list.iter().all(|entry| entry.id.scheme != "auth") {
            return match list.iter().all(|entry| self.is_valid(&entry.id)) {
                true => Ok(list),
                false => Err(ErrorCode::InvalidAcl),
            };
        }
        let mut fixed = Vec::with_capacity(list.len() + ids.len());
        for entry in list {
            if entry.id.scheme == "auth" {
                self.expand(entry.perms, ids, &mut fixed)?;
            } else if self.is_valid(&entry.id) {
                fixed.push(entry);
            } else {
                return Err(ErrorCode::InvalidAcl);
            }
        }
        Ok(fixed)
    }

    /// One entry per id that proves who the client is; there must be one.
    fn expand(&self, perms: i32, ids: &[Id], fixed: &mut Vec<Acl>) -> Result<(), ErrorCode> {
        let before = fixed.len();
        let proven = ids.iter().filter(|id| self.is_authenticated(&id.scheme));
        fixed.extend(proven.map(|id| Acl { perms, id: id.clone() }));
        if fixed.len() == before {
            return Err(ErrorCode::InvalidAcl);
        }
        Ok(())
    }

    /// Schemes whose ids say who somebody is, not just where they are.
    fn is_authenticated(&self, scheme: &str) -> bool {
        match scheme {
            "digest" => self.digest,
            "sasl" => self.sasl.is_some(),
            "x509" => self.x509.is_some(),
            _ => false,
        }
    }

    /// Whether `id` may stand in a list.
    fn is_valid(&self, id: &Id) -> bool {
        match id.scheme.as_str() {
            "world" => id.id == "anyone",
            "ip" => is_valid_pattern(&id.id),
            "digest" => self.digest && is_valid_digest(&id.id),
            "sasl" => self.sasl.is_some() && is_valid_sasl(&id.id),
            "x509" => self.x509.is_some() && x500::is_valid(&id.id),
            _ => false,
        }
    }
}

fn is_world(id: &Id) -> bool {
    id.scheme == "world" && id.id == "anyone"
}

/// Keeps the first of equal entries. Lists are short, so looking back beats hashing.
fn drop_repeats(list: &mut Vec<Acl>) {
    let mut kept = 0;
    for index in 0..list.len() {
        if !list[..kept].contains(&list[index]) {
            list.swap(kept, index);
            kept += 1;
        }
    }
    list.truncate(kept);
}

/// Two parts around colons, trailing empty parts not counted, as Java's `split` does.
fn is_valid_digest(id: &str) -> bool {
    id.trim_end_matches(':').split(':').count() == 2
}

/// Without `@` anything goes; with it, `name[/host]@realm`.
fn is_valid_sasl(id: &str) -> bool {
    match id.split_once('@') {
        None => true,
        Some((principal, realm)) => !realm.contains(['@', '/']) && principal.matches('/').count() <= 1,
    }
}

/// What `getACL` shows to somebody without ADMIN: digest ids lose their hash.
pub fn without_digest_hashes(acl: &[Acl]) -> Vec<Acl> {
    acl.iter()
        .map(|entry| match entry.id.id.split_once(':') {
            Some((user, _)) if entry.id.scheme == "digest" => Acl::new(entry.perms, "digest", &format!("{user}:x")),
            _ => entry.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::perms::{ADMIN, ALL, CREATE, READ, WRITE};

    fn rules() -> AccessRules {
        AccessRules {
            sasl: Some(SaslRules { any_user_id: Some("anybody".to_owned()) }),
            x509: Some(X509Rules { super_user: Some("CN=root".to_owned()) }),
            ..AccessRules::default()
        }
    }

    /// scheme, id text listed, scheme and id held, does it match?
    #[test]
    fn each_scheme_matches_its_own_way() {
        for (listed, held, matches) in [
            (("world", "anyone"), ("ip", "127.0.0.1"), true),
            (("world", "somebody"), ("world", "somebody"), false),
            (("digest", "u:h"), ("digest", "u:h"), true),
            (("digest", "u:h"), ("digest", "u:x"), false),
            (("digest", "u:h"), ("sasl", "u:h"), false),
            (("ip", "127.0.0.0/8"), ("ip", "127.9.9.9"), true),
            (("ip", "127.0.0.0/8"), ("ip", "128.0.0.1"), false),
            (("sasl", "bob"), ("sasl", "bob"), true),
            (("sasl", "bob"), ("sasl", "eve"), false),
            (("sasl", "bob"), ("sasl", "super"), true),
            (("sasl", "anybody"), ("sasl", "eve"), true),
            (("x509", "CN=a"), ("x509", "CN=a"), true),
            (("x509", "CN=a"), ("x509", "CN=b"), false),
            (("x509", "CN=a"), ("x509", "CN=root"), true),
            (("foo", "x"), ("foo", "x"), false),
            (("digest", "u:h"), ("super", ""), true),
        ] {
            let acl = [Acl::new(READ, listed.0, listed.1)];
            let ids = [Id::new(held.0, held.1)];
            let granted = rules().check(&acl, READ, &ids).is_ok();
            assert_eq!(granted, matches, "{listed:?} held {held:?}");
        }
    }

    #[test]
    fn one_common_bit_is_enough_and_none_is_not() {
        let acl = [Acl::new(READ | CREATE, "world", "anyone")];
        assert_eq!(rules().check(&acl, READ | ADMIN, &[]), Ok(()));
        assert_eq!(rules().check(&acl, WRITE, &[]), Err(ErrorCode::NoAuth));
        assert_eq!(rules().check(&[], WRITE, &[]), Ok(()));
        let skipping = AccessRules { skip_acl: true, ..rules() };
        assert_eq!(skipping.check(&acl, WRITE, &[]), Ok(()));
    }

    #[test]
    fn a_disabled_scheme_neither_matches_nor_is_valid() {
        let off = AccessRules { digest: false, ..AccessRules::default() };
        let held = [Id::new("digest", "u:h"), Id::new("sasl", "bob"), Id::new("x509", "CN=a")];
        for id in &held {
            let acl = vec![Acl { perms: ALL, id: id.clone() }];
            assert_eq!(off.check(&acl, READ, &held), Err(ErrorCode::NoAuth));
            assert_eq!(off.fix_up(Some(acl), &held), Err(ErrorCode::InvalidAcl));
        }
        let auth = Some(vec![Acl::new(ALL, "auth", "")]);
        assert_eq!(off.fix_up(auth, &held), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn id_texts_are_valid_where_java_says_so() {
        for (scheme, id, valid) in [
            ("world", "anyone", true),
            ("world", "", false),
            ("ip", "1.2.3.4/8", true),
            ("ip", "1.2.3", false),
            ("digest", "a:b", true),
            ("digest", "a:", false),
            ("digest", ":b", true),
            ("digest", "a", false),
            ("digest", "a:b:", true),
            ("digest", "a:b::", true),
            ("digest", "::", false),
            ("digest", "a:b:c", false),
            ("digest", ":", false),
            ("digest", "", false),
            ("sasl", "a", true),
            ("sasl", "", true),
            ("sasl", "a@b", true),
            ("sasl", "a/b@c", true),
            ("sasl", "a@b@c", false),
            ("sasl", "/@", true),
            ("sasl", "a/b/c@d", false),
            ("sasl", "@", true),
            ("sasl", "a/b/c", true),
            ("sasl", "a@b/c", false),
            ("x509", "CN=a", true),
            ("x509", "foo", false),
            ("super", "", false),
            ("foo", "bar", false),
        ] {
            let list = vec![Acl::new(ALL, scheme, id)];
            let fixed = rules().fix_up(Some(list.clone()), &[]);
            let expected = if valid { Ok(list) } else { Err(ErrorCode::InvalidAcl) };
            assert_eq!(fixed, expected, "{scheme}:{id}");
        }
    }

    #[test]
    fn an_empty_list_is_refused_and_repeats_go() {
        assert_eq!(rules().fix_up(None, &[]), Err(ErrorCode::InvalidAcl));
        assert_eq!(rules().fix_up(Some(vec![]), &[]), Err(ErrorCode::InvalidAcl));
        let (a, b) = (Acl::new(1, "digest", "a:a"), Acl::new(2, "digest", "a:a"));
        let list = vec![a.clone(), b.clone(), a.clone(), b.clone(), a.clone()];
        assert_eq!(rules().fix_up(Some(list), &[]), Ok(vec![a, b]));
    }

    #[test]
    fn auth_becomes_every_proven_id_and_what_it_repeats_stays() {
        let ids = [Id::new("ip", "127.0.0.1"), Id::new("digest", "a:a"), Id::new("super", ""), Id::new("sasl", "bob")];
        let list = vec![Acl::new(3, "digest", "a:a"), Acl::new(3, "auth", "whatever"), Acl::open_unsafe().remove(0)];
        let expected = vec![
            Acl::new(3, "digest", "a:a"),
            Acl::new(3, "digest", "a:a"),
            Acl::new(3, "sasl", "bob"),
            Acl::open_unsafe().remove(0),
        ];
        assert_eq!(rules().fix_up(Some(list.clone()), &ids), Ok(expected));
        let unproven = rules().fix_up(Some(list), &ids[..1]);
        assert_eq!(unproven, Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn hashes_are_cut_from_digest_ids_only() {
        let list = [Acl::new(1, "digest", "a:hash=:"), Acl::new(2, "sasl", "a:hash")];
        let shown = without_digest_hashes(&list);
        assert_eq!(shown, [Acl::new(1, "digest", "a:x"), Acl::new(2, "sasl", "a:hash")]);
    }
}
