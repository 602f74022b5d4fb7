//! Znode paths: validation as `PathUtils.validatePath` does it, and splitting.

/// Nodes that exist on every server and can not be deleted.
pub const ROOT: &str = "/";
pub const ZOOKEEPER: &str = "/zookeeper";
pub const QUOTA: &str = "/zookeeper/quota";
pub const CONFIG: &str = "/zookeeper/config";
pub const LIMITS_NODE: &str = "zookeeper_limits";
pub const STATS_NODE: &str = "zookeeper_stats";

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("path is empty")]
    Empty,
    #[error("path must start with /")]
    NotAbsolute,
    #[error("path must not end with /")]
    TrailingSlash,
    #[error("empty path component")]
    EmptyComponent,
    #[error("relative path component")]
    RelativeComponent,
    #[error("character not allowed in a path")]
    BadCharacter,
}

/// Full validation: what the final path of a create, and every setData, setACL and check, must pass.
pub fn validate(path: &str) -> Result<(), PathError> {
    let bytes = path.as_bytes();
    match bytes {
        [] => return Err(PathError::Empty),
        b"/" => return Ok(()),
        [b'/', .., b'/'] => return Err(PathError::TrailingSlash),
        [b'/', ..] => {}
        _ => return Err(PathError::NotAbsolute),
    }
    // Every write passes here: plain loops over bytes, the second one without a branch.
    for name in bytes[1..].split(|byte| *byte == b'/') {
        validate_component(name)?;
    }
    let is_plain = bytes.iter().fold(true, |all, byte| all & (0x20..0x7f).contains(byte));
    if is_plain || path.chars().all(is_allowed) { Ok(()) } else { Err(PathError::BadCharacter) }
}

fn validate_component(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => Err(PathError::EmptyComponent),
        b"." | b".." => Err(PathError::RelativeComponent),
        _ => Ok(()),
    }
}

/// The ranges `PathUtils` refuses; characters outside the BMP are surrogates to Java, hence refused too.
fn is_allowed(c: char) -> bool {
    !matches!(c as u32, 0x00..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..)
}

/// Splits `/a/b` into (`/a`, `b`); the parent of a top-level node is `""`, the root's own key.
/// `None` when there is no slash.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let slash = path.rfind('/')?;
    Some((&path[..slash], &path[slash + 1..]))
}

/// The parent's path as clients spell it (`/` for the root).
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => ROOT,
        Some(slash) => &path[..slash],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_refused_for_the_reason_java_gives() {
        assert_eq!(validate("/"), Ok(()));
        assert_eq!(validate("/a/b.c/..d"), Ok(()));
        assert_eq!(validate(""), Err(PathError::Empty));
        assert_eq!(validate("a"), Err(PathError::NotAbsolute));
        assert_eq!(validate("/a/"), Err(PathError::TrailingSlash));
        assert_eq!(validate("//a"), Err(PathError::EmptyComponent));
        assert_eq!(validate("/a/../b"), Err(PathError::RelativeComponent));
        assert_eq!(validate("/a/."), Err(PathError::RelativeComponent));
        for bad in ["/\u{1}", "/\u{7f}", "/\u{9f}", "/\u{f8ff}", "/\u{fff0}", "/\u{10000}", "/\0"] {
            assert_eq!(validate(bad), Err(PathError::BadCharacter), "{bad:?}");
        }
        for good in ["/ ", "/\u{a0}", "/\u{d7ff}", "/\u{f900}", "/\u{ffef}"] {
            assert_eq!(validate(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn splitting_names_the_root_by_the_empty_string() {
        assert_eq!(split("/a"), Some(("", "a")));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("a"), None);
        assert_eq!(parent("/a"), "/");
        assert_eq!(parent("/a/b"), "/a");
    }
}
