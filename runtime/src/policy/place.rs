//! Where a policy is enforced: `xdp:eth0`, `tc:eth0`, `veth:lxc4711`, `cgroup:/system.slice/web.service`.

use super::rules::Direction;
use crate::diagnostic::Diagnostic;
use crate::kernel::cgroup;
use crate::kernel::network::{Attachment, Hook, Interface, TcWay, XdpMode, attached_programs, program_name};
use crate::kernel::{network, sys};
use std::fmt;
use std::fs::File;
use std::os::fd::BorrowedFd;

/// A place that exists, and is held open.
#[derive(Debug)]
pub enum Place {
    /// What comes in, before the kernel has made anything of it.
    Xdp(Interface),
    /// Both directions of an interface.
    Tc(Interface),
    /// Both directions of the endpoint at the other end of a veth pair: what leaves this end comes to it.
    Veth(Interface),
    /// What the processes of a control group send and receive.
    Cgroup(File, String),
}

impl Place {
    /// # Errors
    /// A *script* diagnostic: no such kind, interface or cgroup.
    pub fn find(text: &str) -> Result<Place, Diagnostic> {
        let help = "xdp:eth0, tc:eth0, veth:lxc4711 or cgroup:/system.slice/web.service";
        let unknown = || Diagnostic::script(format!("`{text}` is no place for a policy")).span(text).help(help);
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(unknown)?;
        match kind {
            "xdp" => Interface::named(name).map(Place::Xdp),
            "tc" => Interface::named(name).map(Place::Tc),
            "veth" => Interface::named(name).map(Place::Veth),
            "cgroup" => {
                let failed = |error: std::io::Error| {
                    let error = crate::kernel::load::text(&error);
                    Diagnostic::script(format!("no cgroup `{name}`: {error}")).span(name).help("systemd-cgls")
                };
                let folder = cgroup::folder(name).map_err(failed)?;
                // The root holds everything that this machine does, this session too.
                if cgroup::mount_point().is_ok_and(|root| root == folder) {
                    return Err(Diagnostic::script("a policy for the root cgroup is one for the whole machine")
                        .span(name)
                        .help(help));
                }
                Ok(Place::Cgroup(File::open(&folder).map_err(failed)?, folder.display().to_string()))
            }
            _ => Err(unknown()),
        }
    }

    /// Hooks of a direction; the first sees packets, the others the calls that send them.
    pub fn hooks(&self, direction: Direction) -> &'static [Hook] {
        use Hook::{CgroupEgress, CgroupIngress, Connect4, Connect6, Sendmsg4, Sendmsg6, TcEgress, TcIngress, Xdp};
        match (self, direction) {
            (Place::Xdp(_), Direction::Ingress) => &[Xdp],
            (Place::Xdp(_) | Place::Tc(_), Direction::Egress) | (Place::Veth(_), Direction::Ingress) => &[TcEgress],
            (Place::Tc(_), Direction::Ingress) | (Place::Veth(_), Direction::Egress) => &[TcIngress],
            (Place::Cgroup(..), Direction::Ingress) => &[CgroupIngress],
            (Place::Cgroup(..), Direction::Egress) => &[CgroupEgress, Connect4, Connect6, Sendmsg4, Sendmsg6],
        }
    }

    /// # Errors
    /// As [`Attachment::xdp`] and its siblings: programs of others are never replaced.
    pub fn attach(&self, hook: Hook, program: BorrowedFd<'_>) -> Result<Attachment, Diagnostic> {
        match self {
            Place::Xdp(interface) if hook == Hook::Xdp => Attachment::xdp(program, interface, XdpMode::Any),
            Place::Xdp(interface) | Place::Tc(interface) | Place::Veth(interface) => {
                Attachment::tc(program, interface, hook == Hook::TcEgress, TcWay::Any)
            }
            Place::Cgroup(folder, path) => Attachment::cgroup(program, hook, folder, path),
        }
    }

    /// Programs of others that see the same packets, as `tc_ingress 17 (cil_from_netdev)`.
    pub fn others(&self) -> Vec<String> {
        let hooks = [Direction::Ingress, Direction::Egress].map(|direction| self.hooks(direction)).concat();
        let target = match self {
            Place::Xdp(interface) | Place::Tc(interface) | Place::Veth(interface) => {
                network::Target::Interface(interface)
            }
            Place::Cgroup(folder, path) => network::Target::Cgroup(folder, path),
        };
        let at = |hook: Hook| {
            let ids = attached_programs(hook, target).unwrap_or_default();
            ids.into_iter().map(move |id| format!("{hook:?} {id} ({})", program_name(id).unwrap_or_default()))
        };
        hooks.into_iter().flat_map(at).collect()
    }

    /// The diagnostic for a program that cannot be exchanged.
    pub fn lost(&self, error: &std::io::Error) -> Diagnostic {
        if !self.exists() {
            return Diagnostic::machine(format!("`{self}` is gone, and its policy with it"));
        }
        let error = crate::kernel::load::text(error);
        Diagnostic::machine(format!("failed to exchange the policy of `{self}`: {error}")).help("skep policy rollback")
    }

    /// Is it still there? An interface that went takes its programs with it.
    pub fn exists(&self) -> bool {
        match self {
            Place::Xdp(interface) | Place::Tc(interface) | Place::Veth(interface) => {
                Interface::named(&interface.name).is_ok_and(|found| found.index == interface.index)
            }
            // A folder that was removed has no more names.
            Place::Cgroup(folder, _) => sys::links(folder) > 0,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Xdp(interface) => write!(out, "xdp:{}", interface.name),
            Place::Tc(interface) => write!(out, "tc:{}", interface.name),
            Place::Veth(interface) => write!(out, "veth:{}", interface.name),
            Place::Cgroup(_, path) => write!(out, "cgroup:{path}"),
        }
    }
}
