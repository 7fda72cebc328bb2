//! Names that the numbers of DNS, HTTP and TLS have, by the unit of the field that holds them.

use crate::aggregate::column::Enumeration;

/// The names of a field with this unit; `None`: it is no such number.
pub fn of(unit: &str) -> Option<&'static Enumeration> {
    let (_, names) = NAMES.iter().find(|(known, _)| *known == unit)?;
    Some(Enumeration::shared(unit, names.iter().map(|(value, name)| ((*name).to_owned(), *value)).collect()))
}

type Names = &'static [(i64, &'static str)];

const NAMES: &[(&str, Names)] = &[
    ("family", &[(4, "ipv4"), (6, "ipv6")]),
    ("direction", &[(0, "ingress"), (1, "egress")]),
    ("fragment", &[(0, "whole"), (1, "first"), (2, "later")]),
    ("ether_type", ETHER_TYPES),
    ("role", &[(0, "client"), (1, "server")]),
    ("dns_type", DNS_TYPES),
    ("dns_rcode", DNS_RCODES),
    ("http_method", HTTP_METHODS),
    ("tls_version", TLS_VERSIONS),
    ("tls_cipher", TLS_CIPHERS),
    ("tls_alert", TLS_ALERTS),
];

/// Source: IANA, IEEE 802 numbers.
const ETHER_TYPES: Names = &[
    (0x800, "ipv4"),
    (0x806, "arp"),
    (0x8100, "vlan"),
    (0x86dd, "ipv6"),
    (0x8847, "mpls"),
    (0x88a8, "qinq"),
    (0x88cc, "lldp"),
];

/// Source: IANA, DNS parameters, resource record types.
const DNS_TYPES: Names = &[
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (29, "LOC"),
    (33, "SRV"),
    (35, "NAPTR"),
    (37, "CERT"),
    (39, "DNAME"),
    (43, "DS"),
    (44, "SSHFP"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (99, "SPF"),
    (250, "TSIG"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (256, "URI"),
    (257, "CAA"),
];

/// Source: IANA, DNS parameters, RCODEs; the header has four bits.
const DNS_RCODES: Names = &[
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (11, "DSOTYPENI"),
];

/// Numbers of our own: http.bpf.c.
const HTTP_METHODS: Names = &[
    (1, "GET"),
    (2, "HEAD"),
    (3, "POST"),
    (4, "PUT"),
    (5, "DELETE"),
    (6, "OPTIONS"),
    (7, "PATCH"),
    (8, "CONNECT"),
    (9, "TRACE"),
];

const TLS_VERSIONS: Names =
    &[(0, "none"), (0x300, "SSLv3"), (0x301, "TLSv1.0"), (0x302, "TLSv1.1"), (0x303, "TLSv1.2"), (0x304, "TLSv1.3")];

/// Those that are met; others keep their number. Source: IANA, TLS cipher suites.
const TLS_CIPHERS: Names = &[
    (0, "none"),
    (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"),
    (0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA"),
    (0x003c, "TLS_RSA_WITH_AES_128_CBC_SHA256"),
    (0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"),
    (0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"),
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
    (0x1304, "TLS_AES_128_CCM_SHA256"),
    (0x1305, "TLS_AES_128_CCM_8_SHA256"),
    (0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"),
    (0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"),
    (0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    (0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    (0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    (0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// Source: IANA, TLS alerts. `0` (close_notify) ends no handshake: here it means none.
const TLS_ALERTS: Names = &[
    (0, "none"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (22, "record_overflow"),
    (40, "handshake_failure"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (44, "certificate_revoked"),
    (45, "certificate_expired"),
    (46, "certificate_unknown"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (86, "inappropriate_fallback"),
    (90, "user_canceled"),
    (109, "missing_extension"),
    (110, "unsupported_extension"),
    (112, "unrecognized_name"),
    (116, "certificate_required"),
    (120, "no_application_protocol"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_name_each_and_names_one_number() {
        for (unit, names) in NAMES {
            for (n, (value, name)) in names.iter().enumerate() {
                assert!(names[..n].iter().all(|(known, other)| known != value && other != name), "{unit}: {name}");
            }
        }
    }

    #[test]
    fn unit_finds_its_names() {
        assert_eq!(of("dns_type").and_then(|known| known.name_of(28)), Some("AAAA"));
        assert_eq!(of("dns_rcode").and_then(|known| known.value_of("NXDOMAIN")), Some(3));
        assert!(of("ns").is_none());
    }
}
