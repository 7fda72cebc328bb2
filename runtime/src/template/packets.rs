//! Templates about packets: which of their programs serve what a script asks for, those of a cgroup's sockets or those of
//! an interface. Needs no privilege.

use crate::attach_point::Bound;
use crate::diagnostic::{Diagnostic, Position};
use crate::kernel::network::{Hook, Interface};
use crate::plan::Setting;
use crate::points::{Mechanism, packets};
use crate::prepare::{Attach, Load, Program};
use crate::slot::ir::Packets;
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

/// The hook of a program's section: `xdp`, `classifier/ingress`, `cgroup_skb/egress`.
fn hook(attach: &str, target: Option<&str>) -> Option<Hook> {
    Some(match (attach, target) {
        ("xdp", None) => Hook::Xdp,
        ("classifier", Some("ingress")) => Hook::TcIngress,
        ("classifier", Some("egress")) => Hook::TcEgress,
        ("cgroup_skb", Some("ingress")) => Hook::CgroupIngress,
        ("cgroup_skb", Some("egress")) => Hook::CgroupEgress,
        _ => return None,
    })
}

/// The programs that go where the settings say, each attached everywhere; `None`: the template is not about packets.
///
/// # Errors
/// A script diagnostic: no such interface or cgroup, or both are named; a machine diagnostic: no cgroup v2 here.
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
    let (xdp, direction) = (is_xdp(manifest, settings)?, direction(manifest, settings)?);
    let mut programs = Vec::new();
    let wanted = |hook: &Hook| {
        let leaves = matches!(hook, Hook::TcEgress | Hook::CgroupEgress);
        direction.is_none_or(|direction| leaves == (direction == Bound::Egress))
            && match hook {
                Hook::Xdp => xdp,
                Hook::TcIngress | Hook::TcEgress => !xdp,
                _ => true,
            }
    };
    for (name, hook) in hooks.into_iter().filter(|(_, hook)| wanted(hook)) {
        let of_interfaces = matches!(hook, Hook::Xdp | Hook::TcIngress | Hook::TcEgress);
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

/// How a program of this hook has whole frames there; `None` where there are none.
pub fn frames(hook: Hook, place: &Place) -> Option<Packets> {
    match place {
        Place::Interface(interface) if interface.ethernet => hook.packets(),
        _ => None,
    }
}

/// How all programs have whole frames; `None`: one meets none.
pub fn all_frames(programs: &[Program]) -> Option<Packets> {
    let mut found = None;
    for attach in programs.iter().flat_map(|program| &program.attach) {
        match &attach.mechanism {
            Mechanism::Packets { hook, place } => found = Some(frames(*hook, place)?),
            _ => return None,
        }
    }
    found
}

/// As an attach point spells it.
pub fn shown(hook: Hook, place: &Place) -> String {
    let (kind, direction) = match hook {
        Hook::Xdp => ("xdp", ""),
        Hook::TcIngress => ("tc", ":ingress"),
        Hook::TcEgress => ("tc", ":egress"),
        Hook::CgroupIngress => ("cgroup_skb", ":ingress"),
        _ => ("cgroup_skb", ":egress"),
    };
    format!("{kind}:{}{direction}", place.name())
}

type Settings<'a> = &'a [(String, Setting, Option<Position>)];

/// The text that a parameter of this kind was given.
fn given<'a>(kind: &str, manifest: &Manifest, settings: Settings<'a>) -> Option<(&'a str, Option<Position>)> {
    let is = |name: &str| manifest.parameter(name).is_some_and(|parameter| parameter.kind.as_deref() == Some(kind));
    settings.iter().find_map(|(name, setting, at)| match setting {
        Setting::Text(text) if is(name) && !text.is_empty() => Some((text.as_str(), *at)),
        _ => None,
    })
}

fn is_xdp(manifest: &Manifest, settings: Settings<'_>) -> Result<bool, Diagnostic> {
    match given("hook", manifest, settings) {
        None | Some(("tc", _)) => Ok(false),
        Some(("xdp", at)) if given("direction", manifest, settings).is_some_and(|(way, _)| way == "egress") => {
            Err(Diagnostic::script("XDP meets packets that come in alone").span("xdp").help("hook: \"tc\"").at(at))
        }
        Some(("xdp", _)) => Ok(true),
        Some((other, at)) => Err(Diagnostic::script(format!("`{other}` is no hook for packets"))
            .span(other)
            .help("hook: \"tc\" or \"xdp\"")
            .at(at)),
    }
}

fn direction(manifest: &Manifest, settings: Settings<'_>) -> Result<Option<Bound>, Diagnostic> {
    match given("direction", manifest, settings) {
        None | Some(("both", _)) => Ok(None),
        Some(("ingress", _)) => Ok(Some(Bound::Ingress)),
        Some(("egress", _)) => Ok(Some(Bound::Egress)),
        Some((other, at)) => Err(Diagnostic::script(format!("`{other}` is no direction"))
            .span(other)
            .help("direction: \"ingress\", \"egress\" or \"both\"")
            .at(at)),
    }
}

fn places(manifest: &Manifest, settings: Settings<'_>) -> Result<Vec<Place>, Diagnostic> {
    match (given(INTERFACE, manifest, settings), given(CGROUP, manifest, settings)) {
        (Some((interface, at)), Some(_)) => {
            Err(Diagnostic::script("packets are those of an interface or those of a cgroup's sockets, not both")
                .span(interface)
                .help("one template(…) for each")
                .at(at))
        }
        (Some((names, at)), None) => packets::matching(names).map_err(|error| error.at(at)),
        (None, None) if manifest.parameters.iter().all(|one| one.kind.as_deref() != Some(CGROUP)) => {
            Err(Diagnostic::script("packets of which interface?").help("interface: \"eth0\", or \"veth*,lo\""))
        }
        (None, path) => {
            let (path, at) = path.unwrap_or(("/", None));
            Ok(vec![packets::cgroup(path).map_err(|error| error.at(at))?])
        }
    }
}
