//! Dedicated templates: their parameters from a script's settings, their programs' targets, their fields as names.

use crate::aggregate::column::{BytesShow, Show};
use crate::diagnostic::{Diagnostic, Position, nearest};
use crate::kernel::load;
use crate::machine::{Lookup, Machine};
use crate::plan::Setting;
use crate::points::Mechanism;
use crate::prepare::{Attach, Draft, Load, Program, Restrict, Slots};
use crate::resolve::{Argument, Arguments, Scope, Typed};
use crate::slot::assembler::MapRef;
use crate::slot::ir::{Int, Memory, Place, Size, Text};
use crate::types::KernelTypes;
use skep_templates::catalog::{Catalog, Template};
use skep_templates::manifest::{Field, Manifest, Parameter, Shape};

pub mod fit;
mod kinds;
pub mod packets;
mod units;

/// What a parameter of kind `pid` is told where there are several: see skep.bpf.h.
const ANY_FOLLOWED: u32 = u32::MAX;

/// A template named by a script, and the restrictions that it does not make by itself.
///
/// # Errors
/// No such template or parameter, with the nearest; a setting that does not fit; a target that this kernel lacks.
pub fn draft(
    name: &str,
    settings: &[(String, Setting, Option<Position>)],
    catalog: &Catalog,
    machine: &Machine,
    restrict: &Restrict,
    position: Option<Position>,
) -> Result<(Draft, Restrict), Diagnostic> {
    let Some(template) = catalog.get(name) else {
        let error = Diagnostic::script(format!("no template `{name}`")).span(name).at(position);
        return Err(match nearest(name, catalog.iter().map(|template| template.name.as_str())) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help("skep list templates"),
        });
    };
    let manifest =
        template.manifest().map_err(|error| Diagnostic::machine(format!("template `{name}`: {error}")).at(position))?;
    if manifest.is_generic() {
        return Err(Diagnostic::script(format!(
            "template `{name}` serves `probe(…)` and stands for no question of its own"
        ))
        .span(name)
        .help("probe(\"tracepoint:…\")   (dedicated templates: skep list templates)")
        .at(position));
    }
    let settings = &with_cgroup(&manifest, settings, restrict)[..];
    let mut constants = Vec::new();
    for (parameter, setting, at) in settings {
        let Some(known) = manifest.parameter(parameter) else {
            let error = Diagnostic::script(format!("template `{name}` has no parameter `{parameter}`"))
                .span(parameter)
                .at(*at)
                .at(position);
            let names: Vec<&str> = manifest.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            return Err(match nearest(parameter, names.iter().copied()) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None if names.is_empty() => error.help("it has none"),
                None => error.help(format!("it has {}", names.join(", "))),
            });
        };
        let bytes = value(known, setting).map_err(|message| {
            Diagnostic::script(message).span(parameter).help(known.help.clone()).at(*at).at(position)
        })?;
        constants.push((parameter.clone(), bytes));
    }
    let mut left = restrict.clone();
    if manifest.about_others {
        left = Restrict::default();
        constants.extend(others(name, &manifest, settings, restrict, machine).map_err(|error| error.at(position))?);
    }
    let of_packets = packets::programs(&manifest, settings).map_err(|error| error.at(position))?;
    let has_task = of_packets.is_none();
    let programs = match of_packets {
        Some(programs) => programs,
        None => programs(name, &manifest, machine).map_err(|error| error.at(position))?,
    };
    let scope = Scope {
        place: format!("template {name}"),
        arguments: Arguments::None,
        numbered: Vec::new(),
        described: Vec::new(),
        return_value: None,
        caller: None,
        has_task,
        packets: packets::all_frames(&programs),
        memory: Memory::Kernel,
        probe: Int::Constant(0),
        fields: fields(template, &machine.types()).map_err(|error| error.at(position))?,
        namespace: machine.namespace(),
        types: Some(machine.types()),
    };
    let slots = Slots::default();
    let takes_stacks = manifest.maps.iter().any(|map| map.name == MapRef::Stacks.name());
    let reason = manifest.help;
    let draft = Draft { template: template.clone(), takes_stacks, programs, constants, scope, reason, slots };
    Ok((draft, left))
}

/// The restrictions of the command line where events are about other tasks than the current one: those that the template
/// can make by itself.
fn others(
    name: &str,
    manifest: &Manifest,
    settings: &[(String, Setting, Option<Position>)],
    restrict: &Restrict,
    machine: &Machine,
) -> Result<Vec<(String, Vec<u8>)>, Diagnostic> {
    let error =
        || Diagnostic::script(format!("events of template `{name}` are about other tasks than the current one"));
    let process = manifest.parameters.iter().find(|parameter| parameter.kind.as_deref() == Some("pid"));
    let has_cgroup = cgroup_parameter(manifest).is_some();
    let other_cgroup = restrict.cgroup.is_some() && !has_cgroup;
    if restrict.comm.is_some() || other_cgroup || restrict.pid.is_some() && process.is_none() {
        let own: Vec<String> = manifest.parameters.iter().map(|parameter| format!("{}: …", parameter.name)).collect();
        let which = match (process.is_some(), has_cgroup) {
            (true, true) => "--comm",
            (true, false) => "--comm and --cgroup",
            (false, true) => "--pid, --comm and -c",
            (false, false) => "--pid, --comm, --cgroup and -c",
        };
        return Err(error()
            .label(format!("{which} would pass the wrong ones"))
            .help(format!("template({name:?}, #{{ {} }}), or .filter(…) on its fields", own.join(", "))));
    }
    let (Some(pid), Some(process)) = (restrict.pid, process) else { return Ok(Vec::new()) };
    // Of a script's parameter 0 is what nobody has set.
    let given = settings.iter().find(|(name, setting, _)| *name == process.name && *setting != Setting::Int(0));
    if let Some((name, Setting::Int(given), at)) = given
        && *given != pid.into()
    {
        return Err(Diagnostic::script(format!("`{name}` is {given} here, and --pid is {pid}")).span(name).at(*at));
    }
    if restrict.follow {
        return Ok(vec![(process.name.clone(), ANY_FOLLOWED.to_ne_bytes().to_vec())]);
    }
    if machine.namespace().is_some() {
        return Err(error()
            .label("it knows their numbers in the first pid namespace only")
            .help(format!("--pid {pid} --follow-forks")));
    }
    let value = value(process, &Setting::Int(pid.into())).map_err(Diagnostic::script)?;
    Ok(vec![(process.name.clone(), value)])
}

fn cgroup_parameter(manifest: &Manifest) -> Option<&Parameter> {
    manifest.parameters.iter().find(|parameter| parameter.kind.as_deref() == Some("cgroup"))
}

/// `--cgroup` is what a template about others is told by its own parameter, unless the script tells it another one.
fn with_cgroup(
    manifest: &Manifest,
    settings: &[(String, Setting, Option<Position>)],
    restrict: &Restrict,
) -> Vec<(String, Setting, Option<Position>)> {
    let mut settings = settings.to_vec();
    let known = cgroup_parameter(manifest).filter(|_| manifest.about_others);
    if let (Some(known), Some(path)) = (known, &restrict.cgroup_path) {
        // Of a script's parameter an empty text is what nobody has set.
        settings.retain(|(name, setting, _)| *name != known.name || *setting != Setting::Text(String::new()));
        if !settings.iter().any(|(name, ..)| *name == known.name) {
            settings.push((known.name.clone(), Setting::Text(path.clone()), None));
        }
    }
    settings
}

/// The names that a template's events give to expressions.
///
/// # Errors
/// A machine diagnostic: it is no template.
pub fn fields(template: &Template, types: &KernelTypes) -> Result<Vec<Argument>, Diagnostic> {
    let manifest =
        template.manifest().map_err(|error| Diagnostic::machine(format!("template `{}`: {error}", template.name)))?;
    let mut fields: Vec<Argument> = manifest.fields.iter().map(|one| field(one, types)).collect();
    if fields.iter().any(|field| field.name == "tcp_flags") {
        fields.extend(crate::points::packets::flags());
    }
    Ok(fields)
}

/// A template's field as a name of expressions.
pub fn field(field: &Field, types: &KernelTypes) -> Argument {
    let offset = field.offset as i16;
    let typed = match field.shape {
        Shape::Int { size, signed } => {
            let size = Size::of(size).unwrap_or(Size::B8);
            let int = Int::Load { place: Place::Event(offset), size, signed };
            let show = field.unit.as_deref().map_or(Show::Decimal, |unit| units::show(unit, types));
            Typed::Int { int, unsigned: size == Size::B8 && !signed, show }
        }
        Shape::Bool => Typed::int(Int::Load { place: Place::Event(offset), size: Size::B1, signed: false }),
        Shape::Text { size } => {
            Typed::Text { text: Text::Event { offset, size: size as u16 }, size: (size as u16).next_multiple_of(8) }
        }
        Shape::Bytes { size } => {
            let show = match field.unit.as_deref() {
                Some("ip") => BytesShow::Ip,
                Some("mac") => BytesShow::Mac,
                _ => BytesShow::Hex,
            };
            Typed::Bytes { bytes: Text::Event { offset, size: size as u16 }, size: size as u16, show }
        }
    };
    Argument { name: field.name.clone(), declared: field.shape.to_string(), typed }
}

fn programs(name: &str, manifest: &Manifest, machine: &Machine) -> Result<Vec<Program>, Diagnostic> {
    let mut programs = Vec::new();
    for program in &manifest.programs {
        let Some(target) = &program.target else { continue };
        let (load, mechanism) = match program.attach.as_str() {
            "tracepoint" | "tp" => {
                let (category, point) = target.split_once('/').unwrap_or((target, ""));
                let id = match machine.tracepoint(category, point)? {
                    Lookup::Found(format) => format.id,
                    Lookup::Unreadable => 0,
                    Lookup::Missing(_) => {
                        return Err(Diagnostic::machine(format!(
                            "template `{name}` needs tracepoint `{category}:{point}`, and this kernel has none"
                        )));
                    }
                };
                (Load::Plain(load::TRACEPOINT), Mechanism::Tracepoint { id })
            }
            "raw_tp" | "raw_tracepoint" => {
                (Load::Plain(load::RAW_TRACEPOINT), Mechanism::RawTracepoint { name: target.clone() })
            }
            "tp_btf" => (Load::TracepointPrototype(target.clone()), Mechanism::RawTracepoint { name: target.clone() }),
            other => {
                return Err(Diagnostic::machine(format!(
                    "template `{name}` attaches by `{other}`, which this version cannot"
                )));
            }
        };
        if let Some(arguments) = program.arguments
            && machine.tracepoint_arguments(target).is_some_and(|found| found != arguments)
        {
            continue;
        }
        let attach = Attach {
            shown: format!("{}:{}", program.attach, target.replace('/', ":")),
            mechanism,
            cookie: 0,
            by_cookie: false,
        };
        programs.push(Program { name: program.name.clone(), load, attach: vec![attach] });
    }
    if programs.is_empty() {
        return Err(Diagnostic::machine(format!("no program of template `{name}` fits this kernel")));
    }
    Ok(programs)
}

/// The bytes of a parameter's variable.
fn value(parameter: &Parameter, setting: &Setting) -> Result<Vec<u8>, String> {
    let size = parameter.shape.size();
    let name = &parameter.name;
    let number = match (parameter.kind.as_deref(), setting) {
        (Some("cidr"), Setting::Text(text)) => return kinds::prefix(text),
        (Some(kind), Setting::Text(text)) => kinds::number(kind, text).transpose()?,
        (_, Setting::Int(value)) => Some(*value),
        (_, Setting::Bool(value)) => Some((*value).into()),
        (None, Setting::Text(_)) => None,
    };
    match (parameter.shape, number, setting) {
        (Shape::Text { .. } | Shape::Bytes { .. }, _, Setting::Text(text)) => {
            if text.len() >= size {
                return Err(format!("`{text}` is too long for `{name}`: at most {} bytes", size - 1));
            }
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(size, 0);
            Ok(bytes)
        }
        (Shape::Int { signed, .. }, Some(value), _) => {
            let bits = 8 * size as u32;
            let (low, high) =
                if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
            let high = if parameter.kind.as_deref() == Some("pid") { i32::MAX.into() } else { high };
            if !(low..=high).contains(&value) {
                return Err(format!("{value} is out of range for `{name}`: {low} to {high}"));
            }
            Ok(value.to_le_bytes()[..size].to_vec())
        }
        (Shape::Bool, Some(value @ (0 | 1)), _) => Ok(vec![value as u8]),
        _ => Err(format!(
            "`{name}` takes {}",
            match parameter.shape {
                Shape::Bool => "true or false",
                Shape::Int { .. } => "a number",
                _ => "a text",
            }
        )),
    }
}
