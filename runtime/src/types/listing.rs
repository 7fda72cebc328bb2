//! `skep list struct:sock`, `skep list 'enum:tcp*'`: definitions from the kernel's types.

use super::KernelTypes;
use crate::diagnostic::{Diagnostic, nearest};
use crate::glob;
use skep_templates::btf::Kind;

/// The kinds of types that can be listed, as their attach-point-like prefixes.
pub const KINDS: &[(&str, &[Kind])] =
    &[("struct", &[Kind::Struct]), ("union", &[Kind::Union]), ("enum", &[Kind::Enum, Kind::Enum64])];

/// The definition of one type, or the names of all that match a glob; `None`: `pattern` is about no type.
///
/// # Errors
/// No such type, with the nearest; or the kernel has no type information.
pub fn definitions(pattern: &str, types: &KernelTypes) -> Option<Result<String, Diagnostic>> {
    let (word, name) = pattern.split_once(':')?;
    let (_, kinds) = KINDS.iter().find(|(known, _)| *known == word)?;
    if types.vmlinux().is_none() {
        return Some(Err(Diagnostic::machine("this kernel has no type information (/sys/kernel/btf/vmlinux)")
            .help("it takes a kernel with CONFIG_DEBUG_INFO_BTF=y")));
    }
    if glob::is_glob(name) {
        let names = types.names(kinds).into_iter().filter(|one| glob::matches(name, one));
        let lines: String = names.map(|one| format!("{word}:{one}\n")).collect();
        let nothing =
            || Diagnostic::script(format!("nothing matches `{pattern}`")).help(format!("skep list '{word}:*'"));
        return Some(if lines.is_empty() { Err(nothing()) } else { Ok(lines) });
    }
    let found = kinds.iter().find_map(|kind| types.find(*kind, name));
    Some(found.map(|found| found.definition()).ok_or_else(|| {
        let error = Diagnostic::script(format!("this kernel has no `{word} {name}`"));
        match nearest(name, types.names(kinds)) {
            Some(near) => error.help(format!("did you mean `{word}:{near}`?")),
            None => error.help(format!("skep list '{word}:*{name}*'")),
        }
    }))
}
