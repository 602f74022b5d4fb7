//! Whether a text is a distinguished name (RFC 2253 with the older separators), as scheme `x509` demands of an id in
//! an ACL. Only the form is checked; names are compared as text.

/// Attribute types that have a name; others must be written as an object identifier.
const KEYWORDS: [&str; 22] = [
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
    "DOMAINCOMPONENT",
];

/// The empty name is one.
pub fn is_valid(name: &str) -> bool {
    name.is_empty() || split_unescaped(name).is_some_and(|parts| parts.into_iter().all(is_pair))
}

/// Parts between separators that are neither escaped nor quoted; `None` if a quote or an escape is left open.
fn split_unescaped(name: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (index, c) in name.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' | ';' | '+' if !quoted => {
                parts.push(&name[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&name[start..]);
    (!quoted && !escaped).then_some(parts)
}

/// `type=value`
fn is_pair(part: &str) -> bool {
    part.split_once('=').is_some_and(|(kind, value)| is_type(kind.trim()) && is_value(value.trim()))
}

fn is_type(kind: &str) -> bool {
    let upper = kind.to_ascii_uppercase();
    KEYWORDS.contains(&upper.as_str()) || is_oid(upper.strip_prefix("OID.").unwrap_or(&upper))
}

/// At least two numbers; the first is 0 to 2, and below 2 the second is less than 40.
fn is_oid(text: &str) -> bool {
    let numbers: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([2, _, ..]) => true,
        Some([0 | 1, second, ..]) => *second < 40,
        _ => false,
    }
}

fn is_value(value: &str) -> bool {
    if let Some(hex) = value.strip_prefix('#') {
        return is_der_hex(hex);
    }
    if let Some(inner) = value.strip_prefix('"') {
        return inner.strip_suffix('"').is_some_and(|inner| escapes_are_legal(inner, false));
    }
    escapes_are_legal(value, true)
}

/// `#` introduces the hexadecimal form of one encoded value: a tag, its length, as many bytes.
fn is_der_hex(hex: &str) -> bool {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) || hex.len() < 4 {
        return false;
    }
    usize::from_str_radix(&hex[2..4], 16).is_ok_and(|length| length < 128 && length * 2 == hex.len() - 4)
}

/// A backslash stands before a special character or two hexadecimal digits; bare, some characters are not allowed.
fn escapes_are_legal(text: &str, bare: bool) -> bool {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(',' | '+' | '=' | '<' | '>' | '#' | ';' | '\\' | '"' | ' ') => {}
                Some(high) if high.is_ascii_hexdigit() => {
                    if !chars.next().is_some_and(|low| low.is_ascii_hexdigit()) {
                        return false;
                    }
                }
                _ => return false,
            },
            '<' | '>' | '"' if bare => return false,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of `javax.security.auth.x500.X500Principal`.
    #[test]
    fn names_are_valid_where_java_says_so() {
        for valid in [
            "",
            "CN=a",
            "CN=a,O=b",
            "cn=a, ou=b",
            "1.2.3=a",
            "CN=",
            "CN=a+OU=b",
            "CN=\"x,y\"",
            "CN=a\\,b",
            "EMAILADDRESS=x",
            "EMAIL=x",
            "UID=x",
            "OID.1.2.3=x",
            "CN=a;O=b",
            "CN=#04024869",
            "1.2=x",
            " CN = a ",
            "CN=a,O=",
            "DNQ=x",
            "IP=x",
            "CN=\u{e9}",
            "CN=a=b",
            "CN=\\41",
            "CN=a\nb",
        ] {
            assert!(is_valid(valid), "{valid:?}");
        }
        for invalid in [
            "foo",
            "FOO=a",
            "=a",
            "CN=a,",
            "CN=a,,O=b",
            "E=x",
            "CN=a\\",
            "CN=#1234",
            "CN=#zz",
            "CN=<a",
            "CN=a<b",
            "CN=\"a",
            "1=x",
            "3.9.1=x",
            "SN=x",
            "TITLE=x",
            "CN=a\"b",
            "CN=a+",
            "CN=\\4",
            "CN=\\q",
        ] {
            assert!(!is_valid(invalid), "{invalid:?}");
        }
    }
}
