//! Packets: where they enter and leave an interface or a control group. One template has all that is known of them.

use super::{Mechanism, Point, scope};
use crate::aggregate::column::{Enumeration, Show};
use crate::attach_point::{AttachPoint, Bound, PacketHook};
use crate::diagnostic::Diagnostic;
use crate::glob;
use crate::kernel::network::{Hook, Interface};
use crate::kernel::{cgroup, load};
use crate::resolve::{Argument, Typed};
use crate::slot::ir::{Int, Memory};
use std::path::PathBuf;

/// What packets pass by.
#[derive(Clone, Debug, PartialEq)]
pub enum Passage {
    Interface(Interface),
    Cgroup(PathBuf),
}

/// The template that reads them.
pub const TEMPLATE: &str = "flows";

/// The flags of TCP by the names that stand for them in expressions. Source: RFC 9293, RFC 3168.
const TCP_FLAGS: [(&str, u64); 8] =
    [("FIN", 1), ("SYN", 2), ("RST", 4), ("PSH", 8), ("ACK", 16), ("URG", 32), ("ECE", 64), ("CWR", 128)];

/// The program of [`TEMPLATE`] for a hook.
pub fn program(hook: Hook) -> &'static str {
    match hook {
        Hook::Xdp => "of_xdp",
        Hook::TcIngress => "at_ingress",
        Hook::CgroupIngress => "cgroup_ingress",
        Hook::CgroupEgress => "cgroup_egress",
        _ => "at_egress",
    }
}

/// Every interface that the target names (a name or glob, or several with commas between), or its control group; with
/// both directions where none is said.
///
/// # Errors
/// No such interface or cgroup, with those that there are; XDP meets no packets that leave.
pub fn expand(hook: PacketHook, target: &str, direction: Option<Bound>, text: &str) -> Result<Vec<Point>, Diagnostic> {
    let directions = direction.map_or(vec![Bound::Ingress, Bound::Egress], |direction| vec![direction]);
    let mut points = Vec::new();
    for passage in passages(hook, target, text)? {
        for direction in &directions {
            let (hook, reason) = match (hook, direction) {
                (PacketHook::Xdp, Bound::Ingress) => (Hook::Xdp, "in the driver where it can, else behind it"),
                (PacketHook::Xdp, Bound::Egress) if directions.len() > 1 => continue,
                (PacketHook::Xdp, Bound::Egress) => {
                    return Err(Diagnostic::script("XDP meets packets that come in alone")
                        .span(text)
                        .help(format!("tc:{target}:egress")));
                }
                (PacketHook::Tc, Bound::Ingress) => (Hook::TcIngress, "before all other programs of the interface"),
                (PacketHook::Tc, Bound::Egress) => (Hook::TcEgress, "before all other programs of the interface"),
                (PacketHook::Cgroup, Bound::Ingress) => (Hook::CgroupIngress, "sockets of the cgroup and those below"),
                (PacketHook::Cgroup, Bound::Egress) => (Hook::CgroupEgress, "sockets of the cgroup and those below"),
            };
            let name = match &passage {
                Passage::Interface(interface) => interface.name.clone(),
                Passage::Cgroup(path) => path.display().to_string(),
            };
            let direction = (hook != Hook::Xdp).then_some(*direction);
            let kind = match hook {
                Hook::Xdp => PacketHook::Xdp,
                Hook::TcIngress | Hook::TcEgress => PacketHook::Tc,
                _ => PacketHook::Cgroup,
            };
            let shown = AttachPoint::Packets { hook: kind, target: name, direction }.to_string();
            let mut scope = scope(&shown, Memory::Kernel);
            scope.has_task = false;
            let mechanism = Mechanism::Packets { hook, passage: passage.clone() };
            points.push(Point { shown, mechanism, scope, reason: reason.into(), id: 0 });
        }
    }
    Ok(points)
}

fn passages(hook: PacketHook, target: &str, text: &str) -> Result<Vec<Passage>, Diagnostic> {
    if hook == PacketHook::Cgroup {
        let found = cgroup::folder(target).and_then(|folder| std::fs::metadata(&folder).map(|_| folder));
        let folder = found.map_err(|error| {
            Diagnostic::machine(format!("no control group `{target}`: {}", load::text(&error))).span(text)
        })?;
        return Ok(vec![Passage::Cgroup(folder)]);
    }
    let mut found = Vec::new();
    for wanted in target.split(',').map(str::trim) {
        if !glob::is_glob(wanted) {
            found.push(Interface::named(wanted)?);
            continue;
        }
        let all = interfaces()?;
        let before = found.len();
        found.extend(all.iter().filter(|interface| glob::matches(wanted, &interface.name)).cloned());
        if found.len() == before {
            let names: Vec<&str> = all.iter().map(|interface| interface.name.as_str()).collect();
            return Err(Diagnostic::script(format!("no interface matches `{wanted}`"))
                .span(wanted)
                .help(format!("it has {}", names.join(", "))));
        }
    }
    found.sort_by_key(|interface| interface.index);
    found.dedup();
    Ok(found.into_iter().map(Passage::Interface).collect())
}

/// # Errors
/// A machine diagnostic.
pub fn interfaces() -> Result<Vec<Interface>, Diagnostic> {
    Interface::all().map_err(|error| {
        Diagnostic::machine(format!("failed to list this machine's interfaces: {}", load::text(&error)))
    })
}

/// The names of the flags of TCP, as numbers.
pub fn flags() -> impl Iterator<Item = Argument> {
    let flag = |(name, value): (&str, u64)| Argument {
        name: name.to_owned(),
        declared: "flag of TCP".to_owned(),
        typed: Typed::int(Int::Constant(value)),
    };
    TCP_FLAGS.into_iter().map(flag)
}

/// How a number of a packet is shown and what it may be compared with, by the unit of its field; `None` for other units.
pub fn show(unit: &str) -> Option<Show> {
    let named = |list: &[(&str, i64)]| list.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let values = match unit {
        "family" => named(&[("ipv4", 4), ("ipv6", 6)]),
        "direction" => named(&[("ingress", 0), ("egress", 1)]),
        "fragment" => named(&[("whole", 0), ("first", 1), ("later", 2)]),
        "ether_type" => named(&[
            ("ipv4", 0x800),
            ("arp", 0x806),
            ("vlan", 0x8100),
            ("ipv6", 0x86dd),
            ("mpls", 0x8847),
            ("qinq", 0x88a8),
            ("lldp", 0x88cc),
        ]),
        "tcp_flags" => (1..256).map(|bits| (flags_of(bits), bits)).collect(),
        "interface" => interfaces().ok()?.into_iter().map(|one| (one.name, one.index.into())).collect(),
        _ => return None,
    };
    Some(Show::Enum(Enumeration::shared(unit, values)))
}

/// `SYN,ACK`
fn flags_of(bits: i64) -> String {
    let set = TCP_FLAGS.iter().filter(|(_, flag)| bits as u64 & flag != 0);
    set.map(|(name, _)| *name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_tcp_are_shown_by_their_names() {
        assert_eq!([flags_of(2), flags_of(18), flags_of(0x14)], ["SYN", "SYN,ACK", "RST,ACK"]);
    }

    #[test]
    fn interfaces_are_found_by_name_and_glob_once_each() {
        let of = |target: &str| expand(PacketHook::Tc, target, Some(Bound::Egress), target);
        let names = |target: &str| {
            of(target).map(|points| points.into_iter().map(|point| point.shown).collect::<Vec<_>>()).unwrap_or_default()
        };
        assert_eq!(names("lo"), ["tc:lo:egress"]);
        assert_eq!(names("l?,lo").iter().filter(|name| *name == "tc:lo:egress").count(), 1);
        assert_eq!(
            of("nosuch*").map_err(|error| error.message.clone()).err().as_deref(),
            Some("no interface matches `nosuch*`")
        );
        assert_eq!(of("nosuch").map_err(|error| error.message.clone()).err().as_deref(), Some("no interface `nosuch`"));
    }

    #[test]
    fn both_directions_are_watched_unless_one_is_said() {
        let names = |hook| -> Vec<String> {
            expand(hook, "lo", None, "lo")
                .map(|points| points.into_iter().map(|point| point.shown).collect())
                .unwrap_or_default()
        };
        assert_eq!(names(PacketHook::Tc), ["tc:lo:ingress", "tc:lo:egress"]);
        assert_eq!(names(PacketHook::Xdp), ["xdp:lo"]);
    }
}
