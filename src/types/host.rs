//! Hosts as configuration lines and election messages write them: `name`, `10.0.0.1`, `[2001:db8::1]`, with ports behind
//! them. Addresses are kept in the one form that Java prints, so that equal hosts are equal texts, whoever wrote them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Splits at colons; a host in brackets may hold colons of its own.
pub fn split_host_and_ports(text: &str) -> Result<Vec<&str>, String> {
    let Some(inner) = text.strip_prefix('[') else {
        return Ok(text.split(':').collect());
    };
    let (host, rest) =
        inner.split_once(']').ok_or_else(|| format!("`{text}` opens a bracket and does not close it"))?;
    let ports = rest.strip_prefix(':').ok_or_else(|| format!("a port must follow `[{host}]`"))?;
    let mut parts = vec![host];
    parts.extend(ports.split(':'));
    Ok(parts)
}

/// As Java's `InetSocketAddress.getHostString` says it: names stay, IPv6 addresses get all their eight groups and a
/// mapped IPv4 address becomes one.
pub fn canonical_host(host: &str) -> String {
    let (address, scope) = match host.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (host, None),
    };
    let Ok(address) = address.parse::<Ipv6Addr>() else {
        return host.to_owned();
    };
    if let Some(mapped) = address.to_ipv4_mapped() {
        return mapped.to_string();
    }
    // Java keeps the text of a scope that names an interface, and with it the short form of the address.
    if scope.is_some() {
        return host.to_owned();
    }
    address.segments().map(|group| format!("{group:x}")).join(":")
}

/// The host as it stands before a port.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Whether the host means every address of a machine (`0.0.0.0`, `::`), which nobody can connect to.
pub fn is_wildcard_host(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_unspecified())
        || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_unspecified())
}

/// Whether the host is this machine itself, whoever reads it.
pub fn is_loopback_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by `InetSocketAddress.getHostString` of Java 17.
    #[test]
    fn addresses_get_the_form_that_java_prints() {
        for (written, printed) in [
            ("::1", "0:0:0:0:0:0:0:1"),
            ("::", "0:0:0:0:0:0:0:0"),
            ("2001:db8::a:0:0:1", "2001:db8:0:0:a:0:0:1"),
            ("2001:DB8::1", "2001:db8:0:0:0:0:0:1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("fe80::1%lo", "fe80::1%lo"),
            ("127.0.0.1", "127.0.0.1"),
            ("Zoo1.example", "Zoo1.example"),
            ("", ""),
        ] {
            assert_eq!(canonical_host(written), printed);
            assert_eq!(canonical_host(printed), printed);
        }
    }

    #[test]
    fn brackets_and_wildcards() {
        assert_eq!(split_host_and_ports("[::1]:1:2").unwrap(), ["::1", "1", "2"]);
        assert_eq!(split_host_and_ports("a:1").unwrap(), ["a", "1"]);
        assert!(split_host_and_ports("[::1:1").is_err() && split_host_and_ports("[::1]1").is_err());
        assert_eq!((bracketed("0:0:0:0:0:0:0:1"), bracketed("a")), ("[0:0:0:0:0:0:0:1]".to_owned(), "a".to_owned()));
        assert!(is_wildcard_host("0.0.0.0") && is_wildcard_host("0:0:0:0:0:0:0:0"));
        assert!(!is_wildcard_host("localhost") && !is_wildcard_host("127.0.0.1"));
        assert!(is_loopback_host("localhost") && is_loopback_host("127.9.0.1") && is_loopback_host("0:0:0:0:0:0:0:1"));
        assert!(!is_loopback_host("10.0.0.1") && !is_loopback_host("zoo1"));
    }
}
