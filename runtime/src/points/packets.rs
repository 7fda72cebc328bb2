//! Packets: where they enter and leave an interface or a control group. One template has all that is known of them.

use super::{Mechanism, Point, scope};
use crate::aggregate::column::{Enumeration, Show};
use crate::attach_point::{Bound, PacketHook};
use crate::diagnostic::Diagnostic;
use crate::glob;
use crate::kernel::network::{Hook, Interface};
use crate::kernel::{cgroup, load};
use crate::resolve::{Argument, Scope, Typed};
use crate::slot::ir::{Int, Memory};
use crate::template::packets::{self, Place};

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

/// Every interface that the target names, or its control group; with both directions where none is said.
///
/// # Errors
/// No such interface or cgroup, with those that there are; XDP meets no packets that leave.
pub fn expand(hook: PacketHook, target: &str, direction: Option<Bound>, text: &str) -> Result<Vec<Point>, Diagnostic> {
    let hooks = match (hook, direction) {
        (PacketHook::Xdp, Some(Bound::Egress)) => {
            return Err(Diagnostic::script("XDP meets packets that come in alone")
                .span(text)
                .help(format!("tc:{target}:egress")));
        }
        (PacketHook::Xdp, _) => vec![Hook::Xdp],
        (PacketHook::Tc, None) => vec![Hook::TcIngress, Hook::TcEgress],
        (PacketHook::Tc, Some(Bound::Ingress)) => vec![Hook::TcIngress],
        (PacketHook::Tc, Some(Bound::Egress)) => vec![Hook::TcEgress],
        (PacketHook::Cgroup, None) => vec![Hook::CgroupIngress, Hook::CgroupEgress],
        (PacketHook::Cgroup, Some(Bound::Ingress)) => vec![Hook::CgroupIngress],
        (PacketHook::Cgroup, Some(Bound::Egress)) => vec![Hook::CgroupEgress],
    };
    let (places, reason) = match hook {
        PacketHook::Cgroup => (vec![cgroup(target)?], "sockets of the cgroup and of those below"),
        PacketHook::Xdp => (matching(target)?, "in the driver where it can, else behind it"),
        PacketHook::Tc => (matching(target)?, "before all other programs of the interface"),
    };
    let both = places.iter().flat_map(|place| hooks.iter().map(move |hook| (place, *hook)));
    let point = |(place, hook): (&Place, Hook)| {
        let shown = packets::shown(hook, place);
        let scope = Scope { has_task: false, packets: packets::frames(hook, place), ..scope(&shown, Memory::Kernel) };
        let mechanism = Mechanism::Packets { hook, place: place.clone() };
        Point { shown, mechanism, scope, reason: reason.into(), id: 0 }
    };
    Ok(both.map(point).collect())
}

/// A control group.
///
/// # Errors
/// There is none of that path, or no cgroup v2 at all.
pub fn cgroup(path: &str) -> Result<Place, Diagnostic> {
    let folder = cgroup::folder(path).map_err(|_| {
        Diagnostic::machine("cgroup v2 is not mounted here").help("tc:eth0 meets the packets of an interface")
    })?;
    if folder.is_dir() {
        return Ok(Place::Cgroup(folder));
    }
    let above = folder.parent().unwrap_or(&folder).display().to_string();
    Err(Diagnostic::script(format!("no cgroup `{path}`")).span(path).help(format!("ls {above}")))
}

/// The interfaces of a name, a glob, or several with commas between, each once.
///
/// # Errors
/// One of them is not there, with those that are.
pub fn matching(names: &str) -> Result<Vec<Place>, Diagnostic> {
    let mut found = Vec::new();
    for wanted in names.split(',').map(str::trim) {
        if !glob::is_glob(wanted) {
            found.push(Interface::named(wanted)?);
            continue;
        }
        let all = interfaces()?;
        let before = found.len();
        found.extend(all.iter().filter(|interface| glob::matches(wanted, &interface.name)).cloned());
        if found.len() == before {
            let names: Vec<&str> = all.iter().map(|interface| interface.name.as_str()).collect();
            let error = Diagnostic::script(format!("no interface matches `{wanted}`")).span(wanted);
            return Err(error.help(format!("it has {}", names.join(", "))));
        }
    }
    found.sort_by_key(|interface| interface.index);
    found.dedup();
    Ok(found.into_iter().map(Place::Interface).collect())
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
    let values = match unit {
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
