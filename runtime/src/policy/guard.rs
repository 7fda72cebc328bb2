//! The lock-out guard: who works on this machine from afar is never dropped, whatever a policy says.

use super::rules::{Action, Peers, Rule, Rules};
use crate::network::cidr::Cidr;
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// What its rule is called in reports.
pub const NAME: &str = "(guard)";

/// Puts an allow of `addresses` before all rules, in both directions.
pub fn guarded(mut rules: Rules, addresses: &BTreeSet<IpAddr>) -> Rules {
    if addresses.is_empty() {
        return rules;
    }
    let peers = Peers::Prefixes(addresses.iter().map(|address| Cidr::host(*address).into()).collect());
    for side in [&mut rules.ingress, &mut rules.egress] {
        // A direction without a policy passes everything as it is.
        if side.rules.is_empty() && side.otherwise == Action::Allow {
            continue;
        }
        side.rules.iter_mut().for_each(|rule| rule.tier = rule.tier.saturating_add(1));
        let (action, services) = (Action::Allow, Vec::new());
        side.rules.push(Rule { name: NAME.into(), action, tier: 0, peers: peers.clone(), services, rate: None });
    }
    rules
}

/// The other ends of the session that this process belongs to: what `SSH_CONNECTION` says, its own or that of a process
/// that it descends from (sudo takes it away), and the TCP peers of those processes.
pub fn session() -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    found.extend(std::env::var("SSH_CONNECTION").ok().and_then(|value| client(&value)));
    let mut pid = std::process::id();
    // As deep as any session is.
    for _ in 0..64 {
        let folder = Path::new("/proc").join(pid.to_string());
        let Some(parent) = parent(&folder).filter(|parent| *parent > 1) else { break };
        let folder = Path::new("/proc").join(parent.to_string());
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        let variables = environment.split(|byte| *byte == 0).filter_map(|one| one.strip_prefix(b"SSH_CONNECTION="));
        found.extend(variables.filter_map(|value| client(&String::from_utf8_lossy(value))));
        found.extend(peers(&folder));
        pid = parent;
    }
    found.retain(|address| !address.is_loopback() && !address.is_unspecified());
    found
}

fn client(connection: &str) -> Option<IpAddr> {
    // An address of one interface alone, `fe80::1%eth0`, is written with it.
    connection.split([' ', '%']).next()?.parse().ok()
}

fn parent(process: &Path) -> Option<u32> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Whom a process has TCP connections with.
fn peers(process: &Path) -> Vec<IpAddr> {
    let links = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let socket = |link: std::path::PathBuf| {
        let name = link.to_string_lossy().into_owned();
        name.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
    };
    let sockets: BTreeSet<String> = links.filter_map(|link| fs::read_link(link.path()).ok().and_then(socket)).collect();
    if sockets.is_empty() {
        return Vec::new();
    }
    let tables = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(process.join(table)).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines.filter_map(|line| remote(line, &sockets)).collect()
}

/// The other end of an established connection that is one of `sockets`. Source: net/ipv4/tcp_ipv4.c, get_tcp4_sock().
fn remote(line: &str, sockets: &BTreeSet<String>) -> Option<IpAddr> {
    const ESTABLISHED: &str = "01";
    let words: Vec<&str> = line.split_whitespace().collect();
    if *words.get(3)? != ESTABLISHED || !sockets.contains(*words.get(9)?) {
        return None;
    }
    let (address, _) = words[2].split_once(':')?;
    // Words of the machine's own order, of bytes in the network's.
    let word = |at: usize| u32::from_str_radix(address.get(8 * at..8 * at + 8)?, 16).ok().map(u32::to_ne_bytes);
    if address.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let octets: [u8; 16] = [word(0)?, word(1)?, word(2)?, word(3)?].concat().try_into().ok()?;
    let address = Ipv6Addr::from(octets);
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::protocol::Protocol;
    use crate::policy::rules::{Direction, Packet, Side};

    #[test]
    fn guarded_address_passes_whatever_else_is_denied() {
        let rule = Rule {
            name: "all".into(),
            action: Action::Deny,
            tier: 0,
            peers: Peers::Any,
            services: Vec::new(),
            rate: None,
        };
        let side = Side { otherwise: Action::Deny, rules: vec![rule] };
        let rules = Rules { ingress: side.clone(), egress: side };
        let guarded = guarded(rules, &BTreeSet::from(["192.0.2.7".parse().expect("it is an address")]));
        for (peer, action) in [("192.0.2.7", Action::Allow), ("192.0.2.8", Action::Deny)] {
            let peer = peer.parse().expect("it is an address");
            for direction in [Direction::Ingress, Direction::Egress] {
                let packet = Packet { direction, peer, protocol: Protocol::TCP, port: Some(22) };
                assert_eq!(guarded.judge(&packet).action, action, "{packet:?}");
            }
        }
    }

    #[test]
    fn session_is_told_by_its_connection_in_any_spelling() {
        assert_eq!(client("192.0.2.7 51234 192.0.2.1 22"), "192.0.2.7".parse().ok());
        assert_eq!(client("fe80::1%eth0 51234 fe80::2%eth0 22"), "fe80::1".parse().ok());
        assert_eq!(client(""), None);
    }

    #[test]
    fn own_connection_is_found_among_those_of_a_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("lo is up");
        let near = std::net::TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        assert!(peers(Path::new("/proc/self")).contains(&"127.0.0.1".parse().expect("it is an address")));
        drop(near);
    }
}
