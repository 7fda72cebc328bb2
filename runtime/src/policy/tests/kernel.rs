//! The programs judge as the rules do: random rules and packets through BPF_PROG_TEST_RUN, in a network namespace of the
//! test's own.

use super::random::Random;
use crate::kernel::network::Hook;
use crate::kernel::{privilege, sys};
use crate::network::protocol::Protocol;
use crate::policy::enforcer::{Enforcer, Options};
use crate::policy::place::Place;
use crate::policy::rules::{Action, Direction, Packet, Rule, Rules, Side};
use skep_templates::catalog::Catalog;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Command;

/// Runs in a new network namespace; not without privilege.
pub fn alone(test: impl FnOnce() + Send + 'static) {
    if privilege::skips(&["CAP_BPF", "CAP_NET_ADMIN"]) {
        return;
    }
    let thread = std::thread::spawn(|| {
        // SAFETY: takes an integer; the thread, and what it starts, leaves the namespace that others use.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip is there").success());
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The frame of a packet: Ethernet, IP, and as much above as its protocol has.
pub fn frame(packet: &Packet, own: IpAddr) -> Vec<u8> {
    let ports = |port: u16| [4711u16.to_be_bytes(), port.to_be_bytes()].concat();
    let above = match (packet.protocol, packet.port) {
        (Protocol::TCP, Some(port)) => [ports(port), vec![0; 9], vec![2], vec![0; 6]].concat(),
        (Protocol::UDP | Protocol::SCTP, Some(port)) => [ports(port), vec![0; 8]].concat(),
        (Protocol::ICMP | Protocol::ICMPV6, Some(kind)) => [vec![kind as u8], vec![0; 7]].concat(),
        // Too short to hold a port.
        _ => Vec::new(),
    };
    let mut frame = vec![2; 12];
    let (source, destination) = match packet.direction {
        Direction::Ingress => (packet.peer, own),
        Direction::Egress => (own, packet.peer),
    };
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((20 + above.len() as u16).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, packet.protocol.0, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((above.len() as u16).to_be_bytes());
            frame.extend([packet.protocol.0, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => panic!("both ends are of one family"),
    }
    frame.extend(above);
    frame
}

/// Our own end, of the peer's family.
pub fn own(peer: IpAddr) -> IpAddr {
    if peer.is_ipv4() { [192, 0, 2, 1].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() }
}

/// What the kernel does not see as it is: ports of protocols without ports, types of ICMP beyond a byte; and headers of
/// IPv6 that are no protocol above it.
fn as_it_is_sent(packet: Packet) -> Option<Packet> {
    let port = match packet.protocol {
        Protocol::TCP | Protocol::UDP | Protocol::SCTP => packet.port,
        Protocol::ICMP | Protocol::ICMPV6 => packet.port.map(|kind| kind & 0xff),
        _ => None,
    };
    let is_header = packet.peer.is_ipv6() && matches!(packet.protocol.0, 0 | 43 | 44 | 51 | 60);
    (!is_header).then_some(Packet { port, ..packet })
}

fn is_essential(packet: &Packet) -> bool {
    packet.peer.is_ipv6() && packet.protocol == Protocol::ICMPV6 && matches!(packet.port, Some(133..=136))
}

const XDP_PASS: u32 = 2;
const TC_NEXT: u32 = u32::MAX;

#[test]
fn programs_judge_random_packets_as_random_rules_do() {
    alone(|| {
        let catalog = Catalog::embedded();
        let mut random = Random(7);
        for round in 0..40 {
            let tc = Rules { ingress: random.side(), egress: random.side() };
            let xdp = Rules { ingress: tc.ingress.clone(), egress: Side::default() };
            let options = Options { tracks: Some(false), ..Options::default() };
            for (place, rules) in [("tc:lo", &tc), ("xdp:lo", &xdp)] {
                let place = Place::find(place).expect("it is there");
                let enforcer = Enforcer::audit(place, rules, options, &catalog).expect("it is loaded");
                enforcer.enforce(None).expect("it is enforced");
                let hooks = [(Hook::Xdp, XDP_PASS), (Hook::TcIngress, TC_NEXT), (Hook::TcEgress, TC_NEXT)];
                for (hook, passes) in hooks {
                    let Some(program) = enforcer.program(hook) else { continue };
                    let direction = if hook == Hook::TcEgress { Direction::Egress } else { Direction::Ingress };
                    for _ in 0..200 {
                        let Some(packet) = as_it_is_sent(random.packet(direction)) else { continue };
                        let frame = frame(&packet, own(packet.peer));
                        let (result, _) = sys::test_run(program.as_fd(), &frame, 1).expect("it runs");
                        let wanted = rules.judge(&packet).action == Action::Allow || is_essential(&packet);
                        assert_eq!(result == passes, wanted, "{round} {hook:?} {packet:?} {rules:#?}");
                    }
                }
            }
        }
    });
}

#[test]
fn programs_survive_truncated_and_random_frames() {
    alone(|| {
        let catalog = Catalog::embedded();
        let mut random = Random(11);
        let rules = Rules { ingress: random.side(), egress: random.side() };
        let place = Place::find("tc:lo").expect("it is there");
        let options = Options { tracks: Some(true), ..Options::default() };
        let enforcer = Enforcer::audit(place, &rules, options, &catalog).expect("it is loaded");
        enforcer.enforce(None).expect("it is enforced");
        for hook in [Hook::TcIngress, Hook::TcEgress] {
            let program = enforcer.program(hook).expect("both directions are tracked");
            for _ in 0..20_000 {
                let packet = random.packet(Direction::Ingress);
                let mut frame = frame(&packet, own(packet.peer));
                for _ in 0..random.below(6) {
                    let at = random.below(frame.len() as u64) as usize;
                    frame[at] = random.next() as u8;
                }
                frame.truncate((15 + random.below(frame.len() as u64) as usize).min(frame.len()));
                frame.extend((0..random.below(80)).map(|_| random.next() as u8));
                if sys::refused_as_buffer(&frame) {
                    continue;
                }
                let (result, _) = sys::test_run(program.as_fd(), &frame, 1).expect("it runs");
                assert!(result == TC_NEXT || result == 2, "{result}");
            }
        }
    });
}

/// Every 1,000th prefix is asked for, and its neighbours.
#[test]
fn programs_find_100_000_prefixes_of_both_families() {
    alone(|| {
        let catalog = Catalog::embedded();
        let mut random = Random(13);
        let rules: Vec<Rule> = (0..100_000).map(|number| random.listed(number)).collect();
        let rules = Rules { ingress: Side { otherwise: Action::Allow, rules }, egress: Side::default() };
        let since = std::time::Instant::now();
        let place = Place::find("xdp:lo").expect("it is there");
        let options = Options { tracks: Some(false), ..Options::default() };
        let enforcer = Enforcer::audit(place, &rules, options, &catalog).expect("it is loaded");
        println!("100,000 rules are in place after {:?}", since.elapsed());
        enforcer.enforce(None).expect("it is enforced");
        let program = enforcer.program(Hook::Xdp).expect("it is attached");
        for rule in rules.ingress.rules.iter().step_by(5_000) {
            for peer in super::tables::edges_of(rule) {
                let packet = Packet { direction: Direction::Ingress, peer, protocol: Protocol::TCP, port: Some(80) };
                let (result, _) = sys::test_run(program.as_fd(), &frame(&packet, own(peer)), 1).expect("it runs");
                let wanted = rules.judge(&packet).action == Action::Allow;
                assert_eq!(result == XDP_PASS, wanted, "{packet:?}");
            }
        }
    });
}
