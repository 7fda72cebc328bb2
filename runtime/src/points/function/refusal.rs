//! Why a function of the kernel cannot be watched, and what to watch instead.

use super::Asked;
use crate::diagnostic::{Diagnostic, nearest};
use crate::kernel::functions::Standing;
use crate::machine::Machine;
use std::io;

impl Asked<'_> {
    /// The module that has this function, `vmlinux` for the kernel proper, or why it cannot be watched.
    pub fn require(&self, name: &str, machine: &Machine) -> Result<String, Diagnostic> {
        let written = |name: &str| format!("{}:{name}", self.way.provider(self.returns));
        if self.waits_in_vain(name) {
            let entry = format!("{}:{name}", self.way.provider(false));
            return Err(Diagnostic::script(format!("`{name}` never returns")).span(name).help(entry));
        }
        match machine.function(self.module, name) {
            Standing::Traceable { module } if module.is_empty() => Ok("vmlinux".to_owned()),
            Standing::Traceable { module } => Ok(module),
            Standing::Unknown => Ok(self.module.to_owned()),
            Standing::Untraceable if machine.is_protected(name) => Err(protected(name)),
            Standing::Untraceable => Err(Diagnostic::machine(format!(
                "function `{name}` exists, but this kernel was built without tracing it"
            ))
            .span(name)
            .help("watch a function that calls it, or that it calls")),
            Standing::Changed(copy) => {
                Err(Diagnostic::script(format!("the compiler made other functions of `{name}`"))
                    .span(name)
                    .label("may be inlined elsewhere")
                    .help(format!("one of them: {}", written(&copy))))
            }
            Standing::Missing => {
                let error = Diagnostic::script(format!("no kernel function matches `{name}`")).span(name);
                // Few misspell the first letter, and there are 40,000 functions.
                let begins_alike = |one: &&str| one.as_bytes().first() == name.as_bytes().first();
                let all = machine.functions()?.map(|function| function.name).filter(begins_alike);
                Err(match nearest(name, all) {
                    Some(near) => error.help(format!("did you mean `{}`?", written(near))),
                    None => error
                        .label("misspelt, of another kernel, or inlined by the compiler")
                        .help(format!("skep list '{}'", written(&format!("*{name}*")))),
                })
            }
        }
    }

    pub fn no_kprobes(&self, name: &str) -> Diagnostic {
        Diagnostic::machine("this kernel has no kprobes (CONFIG_KPROBES)")
            .span(self.text)
            .help(tracepoint_instead(name, self.returns))
    }

    pub fn no_trampoline(&self, name: &str, reason: String, machine: &Machine) -> Diagnostic {
        let provider = self.way.provider(self.returns);
        let kprobe = if self.returns { "kretprobe" } else { "kprobe" };
        Diagnostic::machine(format!("no {provider} of `{name}`: {reason}")).span(self.text).help(
            if machine.has_kprobe() { format!("{kprobe}:{name}") } else { tracepoint_instead(name, self.returns) },
        )
    }
}

/// On the kernel's own list.
pub fn protected(name: &str) -> Diagnostic {
    Diagnostic::machine(format!("the kernel protects `{name}` from kprobes: it would not survive one"))
        .span(name)
        .help("watch a function that calls it")
}

/// What to watch on a kernel that allows nothing at functions.
fn tracepoint_instead(function: &str, returns: bool) -> String {
    // `__x64_sys_read` -> `read`
    match function.split_once("_sys_").filter(|(arch, _)| arch.starts_with("__")) {
        Some((_, call)) => format!("tracepoint:syscalls:sys_{}_{call}", if returns { "exit" } else { "enter" }),
        None => "a tracepoint may show the same: skep list 'tracepoint:*'".into(),
    }
}

/// Why no trampoline can be set up anywhere.
pub fn no_fentry(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "this kernel has no type information (CONFIG_DEBUG_INFO_BTF)".into(),
        io::ErrorKind::PermissionDenied => "this machine does not allow such programs".into(),
        _ => "this kernel cannot load such programs".into(),
    }
}

/// What should be a number is none.
pub fn no_number(text: &str, what: &str, help: &str) -> Diagnostic {
    Diagnostic::script(format!("`{text}` is no {what}")).span(text).help(help)
}
