//! Templates about packets: which of their programs serve what a script asks for, those of a cgroup's sockets or those of
//! an interface. Needs no privilege.

use crate::diagnostic::{Diagnostic, Position};
use crate::kernel::cgroup;
use crate::kernel::network::{Hook, Interface};
use crate::plan::Setting;
use crate::points::Mechanism;
use crate::prepare::{Attach, Load, Program};
use skep_templates::manifest::Manifest;
use std::path::PathBuf;

/// Parameters of these kinds say where; the programs themselves do not read them.
const INTERFACE: &str = "interface";
const CGROUP: &str = "cgroup";

/// Where packets are met.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    Interface(Interface),
    /// A folder of cgroup v2.
    Cgroup(PathBuf),
}

impl Place {
    fn name(&self) -> String {
        match self {
            Place::Interface(interface) => interface.name.clone(),
            Place::Cgroup(folder) => folder.display().to_string(),
        }
    }
}

/// The hook of a program's section: `classifier/ingress`, `cgroup_skb/egress`.
fn hook(attach: &str, target: Option<&str>) -> Option<Hook> {
    Some(match (attach, target?) {
        ("classifier", "ingress") => Hook::TcIngress,
        ("classifier", "egress") => Hook::TcEgress,
        ("cgroup_skb", "ingress") => Hook::CgroupIngress,
        ("cgroup_skb", "egress") => Hook::CgroupEgress,
        _ => return None,
    })
}

/// The programs that go where the settings say, each attached everywhere; `None`: the template is not about packets.
///
/// # Errors
/// A script diagnostic: no such interface, or a cgroup is named too; a machine diagnostic: no cgroup v2 here.
pub fn programs(
    manifest: &Manifest,
    settings: &[(String, Setting, Option<Position>)],
) -> Result<Option<Vec<Program>>, Diagnostic> {
    let hooks: Vec<(&str, Hook)> = manifest
        .programs
        .iter()
        .filter_map(|program| Some((program.name.as_str(), hook(&program.attach, program.target.as_deref())?)))
        .collect();
    if hooks.is_empty() {
        return Ok(None);
    }
    let places = places(manifest, settings)?;
    let mut programs = Vec::new();
    for (name, hook) in hooks {
        let of_interfaces = matches!(hook, Hook::TcIngress | Hook::TcEgress);
        let attach: Vec<Attach> = places
            .iter()
            .filter(|place| matches!(place, Place::Interface(_)) == of_interfaces)
            .map(|place| Attach {
                shown: shown(hook, place),
                mechanism: Mechanism::Packets { hook, place: place.clone() },
                cookie: 0,
                by_cookie: false,
            })
            .collect();
        if !attach.is_empty() {
            programs.push(Program { name: name.to_owned(), load: Load::Packets(hook), attach });
        }
    }
    Ok(Some(programs))
}

fn shown(hook: Hook, place: &Place) -> String {
    let (kind, direction) = match hook {
        Hook::TcIngress => ("tc", "ingress"),
        Hook::TcEgress => ("tc", "egress"),
        Hook::CgroupIngress => ("cgroup_skb", "ingress"),
        _ => ("cgroup_skb", "egress"),
    };
    format!("{kind}:{}:{direction}", place.name())
}

fn places(manifest: &Manifest, settings: &[(String, Setting, Option<Position>)]) -> Result<Vec<Place>, Diagnostic> {
    let given = |kind: &str| {
        let is = |name: &str| manifest.parameter(name).is_some_and(|parameter| parameter.kind.as_deref() == Some(kind));
        settings.iter().find_map(|(name, setting, at)| match setting {
            Setting::Text(text) if is(name) && !text.is_empty() => Some((text.as_str(), *at)),
            _ => None,
        })
    };
    match (given(INTERFACE), given(CGROUP)) {
        (Some((interface, at)), Some(_)) => {
            Err(Diagnostic::script("packets are those of an interface or those of a cgroup's sockets, not both")
                .span(interface)
                .help("one template(…) for each")
                .at(at))
        }
        (Some((names, at)), None) => names
            .split(',')
            .map(|name| Interface::named(name.trim()).map(Place::Interface).map_err(|error| error.at(at)))
            .collect(),
        (None, path) => {
            let (path, _) = path.unwrap_or(("/", None));
            let folder = cgroup::folder(path).map_err(|_| {
                Diagnostic::machine("cgroup v2 is not mounted here")
                    .help("interface: \"eth0\"   (mount | grep cgroup2)")
            })?;
            Ok(vec![Place::Cgroup(folder)])
        }
    }
}
