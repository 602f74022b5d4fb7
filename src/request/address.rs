//! Addresses as scheme `ip` writes and compares them (`IPAuthenticationProvider`): a pattern is `addr[/bits]`, the
//! text of a connection's address is what Java prints.

use std::net::{IpAddr, Ipv6Addr};

/// A connection's address as its `ip` id: dotted quad, or eight uncompressed groups. An IPv4 address that a
/// dual-stack socket wraps in IPv6 is shown as IPv4.
pub fn text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

/// Whether an ACL may name `pattern`.
pub fn is_valid_pattern(pattern: &str) -> bool {
    parse_pattern(pattern).is_some()
}

/// Whether the address text `held` lies in `pattern`. Families never match each other.
pub fn pattern_matches(held: &str, pattern: &str) -> bool {
    let (Some((network, bits)), Some(address)) = (parse_pattern(pattern), parse_address(held)) else {
        return false;
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differing = network.to_bits() ^ address.to_bits();
            differing.leading_zeros() >= bits
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differing = network.to_bits() ^ address.to_bits();
            differing.leading_zeros() >= bits
        }
        _ => false,
    }
}

/// The address and the number of its leading bits that count.
fn parse_pattern(pattern: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match pattern.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (pattern, None),
    };
    let address = parse_address(address)?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => bits_max,
        Some(text) => text.parse::<i32>().ok().and_then(|b| u32::try_from(b).ok())?,
    };
    (bits <= bits_max).then_some((address, bits))
}

fn parse_address(text: &str) -> Option<IpAddr> {
    if !text.contains(':') {
        return parse_v4(text).map(|octets| IpAddr::V4(octets.into()));
    }
    // Java reads groups of hexadecimal digits only, no embedded dotted quad.
    if text.contains('.') {
        return None;
    }
    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// Four decimal numbers; signs and leading zeros pass, as they do in Java.
fn parse_v4(text: &str) -> Option<[u8; 4]> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let number: i32 = parts.next()?.parse().ok()?;
        *octet = u8::try_from(number).ok()?;
    }
    parts.next().is_none().then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of the Java class.
    #[test]
    fn patterns_are_valid_where_java_says_so() {
        for valid in [
            "1.2.3.4",
            "1.2.3.4/0",
            "1.2.3.4/32",
            "+1.02.3.4",
            "1.2.3.4/+8",
            "1.2.3.4/08",
            "::1",
            "::",
            "1::",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "::1/128",
            "::/0",
            "0:0:0:0:0:0:0:1/64",
            "ABCD::ef",
        ] {
            assert!(is_valid_pattern(valid), "{valid}");
        }
        for invalid in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/-1",
            "1.2.3.256",
            "1.2.3.4/8/9",
            "/8",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            "::ffff:1.2.3.4",
            "fe80::1%eth0",
            "12345::",
            "::1/129",
            ":1",
            "1:",
            ":::",
            ":",
            "g::",
            "1:2:3:4::5:6:7:8",
            "[::1]",
            "1:2",
            "::1:",
            "::0000a",
        ] {
            assert!(!is_valid_pattern(invalid), "{invalid}");
        }
    }

    #[test]
    fn the_leading_bits_decide() {
        for (held, pattern, matches) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "127.0.0.0/8", true),
            ("127.0.0.1", "128.0.0.0/1", false),
            ("127.0.0.1", "::1", false),
            ("127.0.0.1", "::/0", false),
            ("0:0:0:0:0:0:0:1", "0.0.0.0/0", false),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("0:0:0:0:0:0:0:1", "::/127", true),
            ("0:0:0:0:0:0:0:1", "::/128", false),
            ("10.3.2.1", "10.0.0.0/14", true),
            ("10.4.2.1", "10.0.0.0/14", false),
            ("10.4.2.1", "1.2.3.4/0", true),
            ("nonsense", "1.2.3.4/0", false),
        ] {
            assert_eq!(pattern_matches(held, pattern), matches, "{held} in {pattern}");
        }
    }

    #[test]
    fn addresses_are_written_as_java_prints_them() {
        for (address, expected) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("2001:db8::aB:0", "2001:db8:0:0:0:0:ab:0"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(text(address.parse().unwrap()), expected);
        }
    }
}
