//! USDT probes: which file, which sites of it, and where the arguments of each lie.
//!
//! A slot reads an argument where the site's note says that it lies: no table of notes is kept in the kernel. Sites that
//! keep them in the same places share a program.

use super::{Mechanism, Point, context, scope};
use crate::aggregate::column::Show;
use crate::binary::process::{Resolved, Target};
use crate::binary::usdt::{self, Site};
use crate::binary::usdt_argument::{Argument, Operand};
use crate::diagnostic::{Diagnostic, nearest};
use crate::glob;
use crate::kernel::arch::REGISTERS;
use crate::resolve::{Described, Typed};
use crate::slot::ir::{Arithmetic, Int, Memory, Place, Size};

/// Probes of a program or library: by name or glob, of one provider or (empty) of any.
pub fn expand(
    target: &str,
    provider: &str,
    name: &str,
    text: &str,
    pid: Option<u32>,
) -> Result<Vec<Point>, Diagnostic> {
    let found = Target { pid }.resolve(target).map_err(|error| match (target, pid) {
        ("", None) => error.span(text).help(format!("usdt:/usr/bin/python3:{name}, or give a pid")),
        _ => error.span(target),
    })?;
    let sites = usdt::sites(&found.path).map_err(|error| error.span(target))?;
    let of_provider = |site: &&Site| provider.is_empty() || glob::matches(provider, &site.provider);
    let chosen: Vec<&Site> = sites.iter().filter(of_provider).filter(|site| glob::matches(name, &site.name)).collect();
    if chosen.is_empty() {
        return Err(none(provider, name, &sites, &found).span(text));
    }
    let alike = |site: &Site| chosen.iter().filter(|other| same_probe(site, other)).copied().collect::<Vec<_>>();
    Ok(chosen.iter().map(|site| point(site, &alike(site), &found, pid)).collect())
}

/// Do they differ in nothing but their places?
fn same_probe(a: &Site, b: &Site) -> bool {
    (&a.provider, &a.name, a.semaphore, &a.arguments) == (&b.provider, &b.name, b.semaphore, &b.arguments)
}

fn point(site: &Site, alike: &[&Site], found: &Resolved, pid: Option<u32>) -> Point {
    let shown = format!("usdt:{}:{}:{}", found.shown, site.provider, site.name);
    let mut scope = scope(&shown, Memory::User);
    scope.described = site.arguments.iter().map(described).collect();
    let mechanism = Mechanism::Uprobe {
        path: found.path.clone(),
        offset: site.file_offset,
        semaphore: site.semaphore,
        returns: false,
        pid,
    };
    Point { shown, mechanism, scope, reason: reason(site, alike), id: 0 }
}

fn reason(site: &Site, alike: &[&Site]) -> String {
    const SHOWN: usize = 4;
    let places: Vec<String> = alike.iter().take(SHOWN).map(|site| format!("+0x{:x}", site.file_offset)).collect();
    let more = if alike.len() > SHOWN { format!(" and {} more", alike.len() - SHOWN) } else { String::new() };
    let semaphore = match site.semaphore {
        0 => "no semaphore".to_owned(),
        offset => format!("semaphore at +0x{offset:x}"),
    };
    format!("usdt at {}{more}, {semaphore}", places.join(", "))
}

fn described(argument: &Argument) -> Described {
    let typed = argument.operand.as_ref().map_err(Clone::clone).and_then(|operand| typed(operand, argument));
    Described { declared: argument.declared(), typed }
}

fn typed(operand: &Operand, argument: &Argument) -> Result<Typed, String> {
    let signed = argument.signed;
    let size = Size::of(argument.size.into()).ok_or_else(|| format!("`{}` is no number", argument.text))?;
    let register = |byte: i16| Int::Load { place: Place::Context(byte), size: Size::B8, signed: false };
    let behind = |pointer: Int, offset: i32| {
        let place = Place::Behind { pointer: Box::new(pointer), offset, memory: Memory::User };
        Int::Load { place, size, signed }
    };
    let int = match operand {
        Operand::Constant(value) => Int::Constant(narrowed(*value, size, signed)),
        // Little-endian: a register's low bytes come first.
        Operand::Register(byte) => context(*byte as usize, size, signed),
        Operand::Memory { base, index, displacement } => {
            let index = index.map(|(index, scale)| match scale {
                1 => register(index),
                scale => binary(Arithmetic::Multiply, register(index), Int::Constant(scale.into())),
            });
            let pointer = match (base.map(register), index) {
                (Some(base), Some(index)) => binary(Arithmetic::Add, base, index),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => Int::Constant(0),
            };
            behind(pointer, *displacement)
        }
        // Wherever the file is mapped, the probe's site and the variable are as far apart as in the file.
        Operand::Variable { symbol, distance } => {
            let far = |_| format!("the variable `{symbol}` is too far away");
            behind(register(REGISTERS.instruction_pointer), i32::try_from(*distance).map_err(far)?)
        }
    };
    Ok(Typed::Int { int, unsigned: !signed && size == Size::B8, show: Show::Decimal })
}

fn binary(op: Arithmetic, left: Int, right: Int) -> Int {
    Int::Binary { op, signed: false, left: Box::new(left), right: Box::new(right) }
}

/// A constant as a number of that size would hold it.
fn narrowed(value: i64, size: Size, signed: bool) -> u64 {
    let shift = 64 - 8 * u32::from(size.bytes());
    let high = (value as u64) << shift;
    if signed { ((high as i64) >> shift) as u64 } else { high >> shift }
}

/// Nothing matches: what is there instead.
fn none(provider: &str, name: &str, sites: &[Site], found: &Resolved) -> Diagnostic {
    let shown = &found.shown;
    if sites.is_empty() {
        return Diagnostic::script(format!("`{shown}` has no usdt probes"))
            .help(format!("it was built without them; its functions: skep list 'uprobe:{shown}:*'"));
    }
    let all = format!("skep list 'usdt:{shown}:*'");
    let providers = || sites.iter().map(|site| site.provider.as_str());
    let of_provider = |site: &&Site| provider.is_empty() || glob::matches(provider, &site.provider);
    let names: Vec<&str> = sites.iter().filter(of_provider).map(|site| site.name.as_str()).collect();
    if names.is_empty() {
        let error = Diagnostic::script(format!("no provider `{provider}` in `{shown}`"));
        return error.help(match nearest(provider, providers()) {
            Some(near) => format!("did you mean `usdt:{shown}:{near}:{name}`?"),
            None => all,
        });
    }
    let error = Diagnostic::script(match provider {
        "" => format!("no usdt probe `{name}` in `{shown}`"),
        provider => format!("no usdt probe `{name}` of `{provider}` in `{shown}`"),
    });
    let provider = if provider.is_empty() { String::new() } else { format!("{provider}:") };
    error.help(match nearest(name, names) {
        Some(near) => format!("did you mean `usdt:{shown}:{provider}{near}`?"),
        // One part stands for the probe; it may have been meant for its provider.
        None if provider.is_empty() && providers().any(|one| one == name) => {
            format!("skep list 'usdt:{shown}:{name}:*'")
        }
        None => all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_the_size_of_their_argument() {
        assert_eq!(narrowed(-5, Size::B4, true), -5i64 as u64);
        assert_eq!(narrowed(-5, Size::B4, false), 0xffff_fffb);
        assert_eq!(narrowed(0x1ff, Size::B1, true), u64::MAX);
        assert_eq!(narrowed(-1, Size::B8, false), u64::MAX);
    }
}
