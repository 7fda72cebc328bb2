//! Functions of the kernel by name: which can be traced, which exist at all, which the kernel protects from kprobes.
//! Source: Documentation/trace/{ftrace,kprobes}.rst.

use super::tracefs::Tracefs;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The kernel's own lists, or those that were captured into a folder; each is read when it is first asked for.
pub struct Functions {
    symbols_path: PathBuf,
    protected_path: PathBuf,
    traceable: OnceCell<Result<String, io::ErrorKind>>,
    symbols: OnceCell<Option<String>>,
    protected: OnceCell<HashSet<String>>,
}

/// One function; `module` is empty for those of the kernel proper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function<'a> {
    pub name: &'a str,
    pub module: &'a str,
}

/// What the kernel says of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A function of this module; empty: of the kernel proper.
    Traceable {
        module: String,
    },
    /// It is there, but was built without the call at its start that tracing takes.
    Untraceable,
    /// The compiler made another function of it, with this name: `NAME.isra.0`.
    Changed(String),
    Missing,
    /// This process may not look.
    Unknown,
}

impl Functions {
    pub fn live() -> Functions {
        Functions::of("/proc/kallsyms".into(), "/sys/kernel/debug/kprobes/blacklist".into())
    }

    /// A folder that holds `kallsyms` and `blacklist`; the list of functions is in its `tracing`.
    pub fn captured(folder: &Path) -> Functions {
        Functions::of(folder.join("kallsyms"), folder.join("blacklist"))
    }

    /// Of the two lists themselves.
    #[cfg(any(test, feature = "fuzz"))]
    pub fn of_texts(traceable: String, symbols: String) -> Functions {
        let functions = Functions::of(PathBuf::new(), PathBuf::new());
        let (_, _) = (functions.traceable.set(Ok(traceable)), functions.symbols.set(Some(symbols)));
        functions
    }

    /// Those that a kernel's types name: nothing else is known of it.
    pub fn named(names: &[&str]) -> Functions {
        let functions = Functions::of(PathBuf::new(), PathBuf::new());
        let lines = names.iter().map(|name| format!("{name}\n")).collect();
        let (_, _) = (functions.traceable.set(Ok(lines)), functions.symbols.set(Some(String::new())));
        functions
    }

    fn of(symbols_path: PathBuf, protected_path: PathBuf) -> Functions {
        let (traceable, symbols, protected) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Functions { symbols_path, protected_path, traceable, symbols, protected }
    }

    /// Every function that can be traced, in the order of their addresses.
    ///
    /// # Errors
    /// No permission to look; without a function tracer, what kprobes would take is listed instead.
    pub fn traceable(
        &self,
        tracefs: Result<&Tracefs, io::ErrorKind>,
    ) -> Result<impl Iterator<Item = Function<'_>>, io::ErrorKind> {
        // Names that the linker took away, and that only ftrace knows.
        let known = |function: &Function<'_>| !function.name.starts_with("__ftrace_invalid_address");
        Ok(self.list(tracefs)?.lines().map(function).filter(known))
    }

    fn list(&self, tracefs: Result<&Tracefs, io::ErrorKind>) -> Result<&str, io::ErrorKind> {
        let read = || match tracefs?.functions() {
            Ok(list) => Ok(list),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.unprotected().ok_or(error.kind()),
            Err(error) => Err(error.kind()),
        };
        self.traceable.get_or_init(read).as_deref().map_err(|kind| *kind)
    }

    /// All functions of /proc/kallsyms but the protected ones, one a line.
    fn unprotected(&self) -> Option<String> {
        let all = self.symbols()?.lines().filter_map(symbol).map(|(_, function)| function);
        let names = all.filter(|function| !self.is_protected(function.name));
        Some(
            names
                .map(|Function { name, module }| match module {
                    "" => format!("{name}\n"),
                    module => format!("{name} [{module}]\n"),
                })
                .collect(),
        )
    }

    fn symbols(&self) -> Option<&str> {
        self.symbols.get_or_init(|| fs::read_to_string(&self.symbols_path).ok()).as_deref()
    }

    /// Is it on the list of functions that kprobes would harm? No, where the list cannot be read.
    pub fn is_protected(&self, name: &str) -> bool {
        let read = || {
            let list = fs::read_to_string(&self.protected_path).unwrap_or_default();
            // `0xffffffff81a00930-0xffffffff81a00950	asm_exc_divide_error`
            list.lines().filter_map(|line| Some(line.split_once('\t')?.1.to_owned())).collect()
        };
        self.protected.get_or_init(read).contains(name)
    }

    /// What is known of one name; `module` empty: anywhere.
    pub fn standing(&self, tracefs: Result<&Tracefs, io::ErrorKind>, module: &str, name: &str) -> Standing {
        let here = |function: &Function<'_>| module.is_empty() || function.module == kernel_or(module);
        let Ok(list) = self.list(tracefs) else { return Standing::Unknown };
        let is_it = |function: &Function<'_>| function.name == name && here(function);
        if let Some(found) = lines_with(list, name).map(function).find(is_it) {
            return Standing::Traceable { module: found.module.to_owned() };
        }
        let Some(symbols) = self.symbols() else { return Standing::Missing };
        let mut changed = None;
        for (address, function) in lines_with(symbols, &format!(" {name}")).filter_map(symbol) {
            if !here(&function) {
                continue;
            }
            match function.name.strip_prefix(name) {
                Some("") => return by_another_name(list, symbols, address, function.module),
                Some(rest) if is_suffix(rest) && changed.is_none() => changed = Some(function.name.to_owned()),
                _ => {}
            }
        }
        changed.map_or(Standing::Missing, Standing::Changed)
    }
}

/// A function may have several names, as system calls without arguments do; one of them is listed.
fn by_another_name(list: &str, symbols: &str, address: &str, module: &str) -> Standing {
    // Hidden from this process: kptr_restrict.
    if address.bytes().all(|digit| digit == b'0') {
        return Standing::Unknown;
    }
    let same = lines_with(symbols, address).filter_map(symbol).filter(|(at, _)| *at == address);
    let listed = |name: &str| lines_with(list, name).any(|line| function(line).name == name);
    match same.map(|(_, function)| function.name).any(listed) {
        true => Standing::Traceable { module: module.to_owned() },
        false => Standing::Untraceable,
    }
}

/// Lines that hold `part`, without a look at the others: of 40,000 functions and 160,000 symbols, one is of interest.
fn lines_with<'a>(text: &'a str, part: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(part).map(|(at, _)| {
        let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
        &text[start..end]
    })
}

/// The kernel proper has a name too: `vmlinux`.
pub fn kernel_or(module: &str) -> &str {
    if module == "vmlinux" { "" } else { module }
}

/// What the compiler appends to copies of functions that it made for some of their callers.
fn is_suffix(text: &str) -> bool {
    [".isra.", ".constprop.", ".part.", ".cold"].iter().any(|suffix| text.starts_with(suffix))
}

/// `name` or `name [module]`
fn function(line: &str) -> Function<'_> {
    match line.split_once([' ', '\t']) {
        Some((name, module)) => Function { name, module: module.trim().trim_start_matches('[').trim_end_matches(']') },
        None => Function { name: line, module: "" },
    }
}

/// Address and function of a line of /proc/kallsyms: `ffffffff81000000 T name` or `… t name\t[module]`.
fn symbol(line: &str) -> Option<(&str, Function<'_>)> {
    let (address, rest) = line.split_once(' ')?;
    let (kind, name) = rest.split_once(' ')?;
    matches!(kind, "t" | "T" | "w" | "W").then(|| (address, function(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_stand_behind_names() {
        assert_eq!(function("vfs_read"), Function { name: "vfs_read", module: "" });
        assert_eq!(function("nft_do_chain [nf_tables]"), Function { name: "nft_do_chain", module: "nf_tables" });
        let symbols = "ffffffff81000000 T _text\n0000000000000000 d data\nffffffffc0000000 t f\t[m]\n";
        let found: Vec<_> = symbols.lines().filter_map(symbol).map(|(_, function)| function).collect();
        assert_eq!(found, [Function { name: "_text", module: "" }, Function { name: "f", module: "m" }]);
    }

    #[test]
    fn copies_that_the_compiler_made_are_known_by_their_ending() {
        assert!(is_suffix(".isra.0") && is_suffix(".constprop.0.isra.0"));
        assert!(!is_suffix("_fast") && !is_suffix(""));
    }
}
