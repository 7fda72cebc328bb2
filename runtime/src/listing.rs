//! Listings: what can be probed on this machine, the templates, the scripts; and the documents made from what they say of
//! themselves.

use crate::attach_point::{self, AttachPoint, PROVIDERS};
use crate::diagnostic::{Diagnostic, nearest};
use crate::glob;
use crate::kernel::perf;
use crate::library::{Library, Script};
use crate::machine::{Lookup, Machine};
use crate::points::{self, Uses};
use crate::resolve::Arguments;
use crate::script::reference;
use crate::types;
use skep_templates::catalog::{Catalog, Template};
use skep_templates::manifest::Manifest;
use std::collections::HashSet;

/// Attach points that match, one a line; all providers with their counts where nothing is asked for.
///
/// # Errors
/// A pattern that names no provider, or nothing that matches.
pub fn attach_points(
    pattern: Option<&str>,
    pid: Option<u32>,
    machine: &Machine,
    verbose: bool,
) -> Result<String, Diagnostic> {
    let Some(pattern) = pattern else { return overview(machine) };
    if let Some(definitions) = types::listing::definitions(pattern, &machine.types()) {
        return definitions;
    }
    let found = match pattern.split_once(':') {
        // Without a provider, any tracepoint or counter whose name holds the words.
        None => everything(machine)?
            .into_iter()
            .filter(|point| glob::matches(pattern, point) || glob::matches(&format!("*{pattern}*"), point))
            .collect(),
        Some((provider, _)) if glob::is_glob(provider) => {
            everything(machine)?.into_iter().filter(|point| glob::matches(pattern, point)).collect()
        }
        Some(_) => matching(pattern, pid, machine)?,
    };
    if found.is_empty() {
        return Err(Diagnostic::script(format!("nothing matches `{pattern}`"))
            .help("skep list   (without a pattern: what there is)"));
    }
    let mut out = String::new();
    for point in found {
        out += &format!("{point}\n");
        if verbose {
            out += &fields(&point, pid, machine);
        }
    }
    Ok(out)
}

fn overview(machine: &Machine) -> Result<String, Diagnostic> {
    let tracepoints: usize = machine.tracepoints()?.values().map(Vec::len).sum();
    let mut out = String::new();
    for (name, short, spelling, help) in PROVIDERS {
        let count = match *name {
            "tracepoint" if tracepoints > 0 => format!("{tracepoints} here; "),
            _ => String::new(),
        };
        out += &format!("{name:<14} {short:<3} {spelling:<38} {count}{help}\n");
    }
    out += "\nskep list 'tracepoint:sched:*' -v     with their fields\nskep list templates                   skep list scripts
skep list struct:sock                  a structure of the kernel; also union:NAME, enum:NAME\n";
    Ok(out)
}

fn everything(machine: &Machine) -> Result<Vec<String>, Diagnostic> {
    let mut all = Vec::new();
    for (category, names) in machine.tracepoints()? {
        all.extend(names.into_iter().map(|name| format!("tracepoint:{category}:{name}")));
    }
    all.extend(points::iterator::names(machine).into_iter().map(|name| format!("iter:{name}")));
    all.extend(perf::names(perf::SOFTWARE).map(|name| format!("software:{name}")));
    all.extend(perf::names(perf::HARDWARE).map(|name| format!("hardware:{name}")));
    Ok(all)
}

fn matching(pattern: &str, pid: Option<u32>, machine: &Machine) -> Result<Vec<String>, Diagnostic> {
    // A glob may stand where a counter's or a timer's name does; those few are matched as text.
    let provider = pattern.split(':').next().unwrap_or_default();
    if let Some((long, ..)) = PROVIDERS.iter().find(|(long, short, ..)| *long == provider || *short == provider)
        && matches!(*long, "software" | "hardware" | "iter")
    {
        let wanted = format!("{long}{}", &pattern[provider.len()..]);
        return Ok(everything(machine)?.into_iter().filter(|point| glob::matches(&wanted, point)).collect());
    }
    let point = match attach_point::parse(pattern) {
        Ok(point) => point,
        // `tracepoint:sched` lists the category.
        Err(_) if pattern.matches(':').count() == 1 && !pattern.ends_with(':') => {
            attach_point::parse(&format!("{pattern}:*"))?
        }
        Err(error) => return Err(error),
    };
    let points = points::expand(&point, pattern, Uses { named: true, ..Uses::default() }, pid, machine)?;
    let mut names: Vec<String> = points.into_iter().map(|point| point.shown).collect();
    // Sites of one usdt probe.
    names.dedup();
    Ok(names)
}

/// The fields of one attach point, indented.
pub fn fields(point: &str, pid: Option<u32>, machine: &Machine) -> String {
    let mut out = String::new();
    let Ok(parsed) = attach_point::parse(point) else { return out };
    if let AttachPoint::Tracepoint { category, name } = &parsed {
        match machine.tracepoint(category, name) {
            Ok(Lookup::Found(format)) => {
                for field in format.fields.iter().filter(|field| field.name != "__syscall_nr") {
                    out += &format!("    args.{:<24} {}\n", field.name, field.declared);
                }
            }
            Ok(Lookup::Unreadable) => out += "    (fields: only root may read tracefs here)\n",
            _ => {}
        }
        return out;
    }
    let Ok(points) = points::expand(&parsed, point, Uses { named: true, ..Uses::default() }, pid, machine) else {
        return out;
    };
    let mut shown = HashSet::new();
    for point in points.into_iter().filter(|point| shown.insert(point.reason.clone())) {
        for (n, argument) in point.scope.described.iter().enumerate() {
            let reason = argument.typed.as_ref().err().map(|reason| format!("   not readable: {reason}"));
            out += &format!("    arg{n:<25} {}{}\n", argument.declared, reason.unwrap_or_default());
        }
        if let Arguments::Known(list) = &point.scope.arguments {
            for argument in list {
                out += &format!("    args.{:<24} {}\n", argument.name, argument.declared);
            }
        }
        match point.scope.numbered.len() {
            0 => {}
            count => out += &format!("    arg0 to arg{}\n", count - 1),
        }
        if point.scope.return_value.is_some() {
            out += "    retval\n";
        }
        out += &format!("    ({})\n", point.reason);
    }
    out
}

/// Every template with its help; `verbose` adds parameters and fields.
pub fn templates(catalog: &Catalog, verbose: bool) -> String {
    let mut out = String::new();
    for template in catalog.iter() {
        match template.manifest() {
            Ok(manifest) => {
                out += &format!("{:<16} {}\n", template.name, manifest.help);
                if verbose {
                    out += &described(&manifest);
                }
            }
            Err(error) => out += &format!("{:<16} unusable: {error}\n", template.name),
        }
    }
    out
}

/// Every script with what it answers.
pub fn scripts(scripts: impl Iterator<Item = Script>) -> String {
    scripts.map(|script| format!("{:<26} {}\n", script.name, script.summary())).collect()
}

fn described(manifest: &Manifest) -> String {
    let mut out = String::new();
    for program in &manifest.programs {
        let target = program.target.as_deref().unwrap_or("what the plan names");
        out += &format!("    program   {:<20} {} {target}\n", program.name, program.attach);
    }
    for parameter in &manifest.parameters {
        out += &format!("    param     {:<20} {:<9} {}\n", parameter.name, parameter.shape.to_string(), parameter.help);
    }
    for field in &manifest.fields {
        let unit = field.unit.as_deref().map(|unit| format!(" ({unit})")).unwrap_or_default();
        out += &format!("    field     {:<20} {:<9} {}{unit}\n", field.name, field.shape.to_string(), field.help);
    }
    for map in &manifest.maps {
        out += &format!(
            "    map       {:<20} {} entries of {} + {} B\n",
            map.name, map.max_entries, map.key_size, map.value_size
        );
    }
    out
}

/// The document of a script or a template.
///
/// # Errors
/// Neither has this name.
pub fn doc(name: &str, catalog: &Catalog, library: &Library) -> Result<String, Diagnostic> {
    if name == "functions" {
        return Ok(reference::text());
    }
    let script = library.open(name);
    let template = catalog.get(name);
    let mut out = String::new();
    if let Ok(script) = &script {
        out += &script.header();
    }
    if let Some(template) = template {
        out += &template_doc(template)?;
    }
    match (script, template) {
        (Err(error), None) => Err(match nearest(name, catalog.iter().map(|template| template.name.as_str())) {
            Some(near) => Diagnostic::script(format!("no script and no template `{name}`"))
                .help(format!("did you mean `{near}`?")),
            None => error,
        }),
        _ => Ok(out),
    }
}

fn template_doc(template: &Template) -> Result<String, Diagnostic> {
    let manifest =
        template.manifest().map_err(|error| Diagnostic::machine(format!("template `{}`: {error}", template.name)))?;
    Ok(format!("template {}: {}\n{}", template.name, manifest.help, described(&manifest)))
}

/// scripts/README.md, from the scripts' headers.
pub fn library_markdown(scripts: impl Iterator<Item = Script>) -> String {
    let mut out = String::from(
        "# The library\n\n<!-- Generated from the scripts' headers: SKEP_BLESS=1 cargo test -p skep-runtime listing -->\n\n\
         One file, one question. `skep run NAME`, `skep doc NAME`.\n\n| script | what it answers |\n|---|---|\n",
    );
    for script in scripts {
        let name = script.name.rsplit('/').next().unwrap_or(&script.name).to_owned();
        out += &format!("| [{name}]({}.rhai) | {} |\n", script.name, script.summary().replace('|', "\\|"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::header::Header;

    #[test]
    fn library_readme_is_what_the_headers_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/README.md");
        let wanted = library_markdown(Library::embedded());
        if std::env::var_os("SKEP_BLESS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(path).expect("scripts/README.md is missing: SKEP_BLESS=1 writes it");
        assert_eq!(found, wanted, "SKEP_BLESS=1 cargo test -p skep-runtime listing");
    }

    #[test]
    fn every_script_has_a_whole_header() {
        for script in Library::embedded() {
            let faults = Header::of(&script).faults(&script.name);
            assert!(faults.is_empty(), "{}: {}", script.name, faults.join("; "));
        }
    }
}
