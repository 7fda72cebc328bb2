//! Programs that meet packets, put where those pass.

use super::links::failed;
use crate::diagnostic::Diagnostic;
use crate::kernel::attach::Link;
use crate::kernel::network::{Attachment, Hook, TcWay, XdpMode};
use crate::points::Mechanism;
use crate::prepare::Attach;
use crate::template::packets::Place;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// # Errors
/// A machine diagnostic that names the place.
pub fn attach(hook: Hook, one: &Attach, program: &OwnedFd) -> Result<Link, Diagnostic> {
    let program = program.as_fd();
    let attachment = match &one.mechanism {
        Mechanism::Packets { place: Place::Interface(interface), .. } => match hook {
            Hook::Xdp => Attachment::xdp(program, interface, XdpMode::Any),
            _ => Attachment::tc(program, interface, hook == Hook::TcEgress, TcWay::Any),
        },
        Mechanism::Packets { place: Place::Cgroup(path), .. } => {
            let folder = File::open(path).map_err(|error| failed(&one.shown, &error))?;
            Attachment::cgroup(program, hook, &folder, &path.display().to_string())
        }
        _ => Err(failed(&one.shown, &io::Error::other("no packets pass there"))),
    };
    attachment.map(Link::from)
}
