//! ELF files as uprobes see them: a path in, functions with their *file offsets* out. Needs only leave to read the file.
//!
//! Headers and symbol tables are read by range, so that a library of 150 MB costs no more than its symbols.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::files::{require_elf, unreadable};
use super::jumps;
use super::reader::{self, Reader};
use super::symbols::{self, Layout, Segment};
use crate::diagnostic::{Diagnostic, nearest};
use crate::glob;

/// Of one function. Beyond it nobody has code: it is a hole in the file.
const MOST_CODE: u64 = 64 << 20;

/// The instruction set of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Aarch64,
    /// ELF's number for it; 3 is 32-bit x86.
    Other(u16),
}

/// A function that can be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// As linked (mangled), without a symbol version.
    pub name: String,
    /// Virtual, as the file's headers place it.
    pub address: u64,
    /// What a uprobe takes.
    pub file_offset: u64,
    /// In bytes; up to the next function where the symbol gives no size (assembly).
    pub size: u64,
    /// Seen by other files. A name that is not can occur more than once in a file.
    pub global: bool,
}

/// A program or library, its functions known.
#[derive(Debug)]
pub struct Binary {
    path: PathBuf,
    file: File,
    layout: Layout,
    functions: Vec<Function>,
    /// Chosen by a resolver when the program starts; the symbol's own code is that resolver.
    ifuncs: Vec<String>,
    stripped: bool,
}

impl Binary {
    /// Opens a program or library and reads its function symbols, those of its debug file under `/usr/lib/debug` too.
    ///
    /// # Errors
    /// A diagnostic for a file that is missing, unreadable, a script, no ELF file, or a damaged one.
    pub fn open(path: &Path) -> Result<Binary, Diagnostic> {
        require_elf(path)?;
        let file = reader::open(path).map_err(|error| unreadable(path, &error))?;
        let again = file.try_clone().map_err(|error| unreadable(path, &error))?;
        let damaged = |error| Diagnostic::machine(format!("`{}` is a damaged ELF file: {error}", path.display()));
        let (layout, mut symbols, mut full) = symbols::parse(&Reader::new(again)).map_err(damaged)?;
        if let Some(debug) = layout.build_id.as_deref().and_then(|id| debug_file(path, id))
            && let Ok((_, more, true)) = symbols::parse(&Reader::new(debug))
        {
            symbols.extend(more);
            full = true;
        }
        let (functions, ifuncs) = symbols::select(symbols, &layout.segments);
        Ok(Binary { path: path.to_owned(), file, layout, functions, ifuncs, stripped: !full })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn machine(&self) -> Machine {
        self.layout.machine
    }

    /// Go moves its stacks, which a return probe's changed return address does not survive: refuse uretprobes.
    pub fn is_go(&self) -> bool {
        self.layout.go
    }

    /// Only exported functions are known: neither the file nor a debug file has the full symbol table.
    pub fn is_stripped(&self) -> bool {
        self.stripped
    }

    /// Every function that can be probed, by address, then name.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The function of that name. Where several have it, the exported one, else the first; [`Binary::matching`] gives all.
    ///
    /// # Errors
    /// No such function, with the nearest name; a name whose code is only chosen when the program starts (IFUNC).
    pub fn function(&self, name: &str) -> Result<&Function, Diagnostic> {
        let named = || self.functions.iter().filter(|f| f.name == name);
        named().find(|f| f.global).or_else(|| named().next()).ok_or_else(|| self.unknown(name))
    }

    /// The functions whose name matches a glob, or, of a plain name, all that have it.
    ///
    /// # Errors
    /// None matches.
    pub fn matching(&self, pattern: &str) -> Result<Vec<&Function>, Diagnostic> {
        if !glob::is_glob(pattern) {
            self.function(pattern)?;
        }
        let found: Vec<_> = self.functions.iter().filter(|f| glob::matches(pattern, &f.name)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let message = format!("no function matches `{pattern}` in `{}`", self.path.display());
        Err(self.mention_stripped(Diagnostic::script(message), None))
    }

    /// The file offset of `name+plus`.
    ///
    /// # Errors
    /// No such function; a place outside it or, where that can be told, inside an instruction: a breakpoint there would
    /// change what the program does.
    pub fn offset_of(&self, name: &str, plus: u64) -> Result<u64, Diagnostic> {
        let function = self.function(name)?;
        self.inside(function, plus)?;
        Ok(function.file_offset + plus)
    }

    /// The file offset of a virtual address, as objdump shows them.
    ///
    /// # Errors
    /// An address outside the code, or inside an instruction of a known function.
    pub fn offset_of_address(&self, address: u64) -> Result<u64, Diagnostic> {
        let Some(offset) = symbols::file_offset(&self.layout.segments, address) else {
            let message = format!("`0x{address:x}` is not in the code of `{}`", self.path.display());
            let span = |s: &Segment| format!("0x{:x}..0x{:x}", s.address, s.address.saturating_add(s.size));
            let spans: Vec<_> = self.layout.segments.iter().map(span).collect();
            return Err(Diagnostic::script(message).help(format!("its code is at {}", spans.join(", "))));
        };
        let before = &self.functions[..self.functions.partition_point(|f| f.address <= address)];
        match before.last() {
            Some(function) if address - function.address < function.size => {
                self.inside(function, address - function.address)?
            }
            _ => {}
        }
        Ok(offset)
    }

    fn inside(&self, function: &Function, plus: u64) -> Result<(), Diagnostic> {
        let Function { name, size, .. } = function;
        if plus >= *size {
            let message = format!("`{name}+{plus}` lies behind the end of `{name}`");
            return Err(Diagnostic::script(message).help(format!("`{name}` has {size} bytes")));
        }
        match jumps::boundaries(self.machine(), &self.code(function)?, plus) {
            (before, Some(after)) => {
                let message = format!("`{name}+{plus}` is in the middle of an instruction");
                Err(Diagnostic::script(message)
                    .help(format!("instructions start at {name}+{before} and {name}+{after}")))
            }
            _ => Ok(()),
        }
    }

    /// A function's machine code, cut where its segment ends.
    ///
    /// # Errors
    /// The file can no longer be read.
    pub fn code(&self, function: &Function) -> Result<Vec<u8>, Diagnostic> {
        self.read(function.file_offset, function.size)
    }

    /// Bytes of the code from a file offset on; fewer at the segment's end, none outside all segments.
    pub(super) fn read(&self, offset: u64, size: u64) -> Result<Vec<u8>, Diagnostic> {
        let inside = |s: &&Segment| (s.file_offset..s.file_offset + s.size).contains(&offset);
        let rest = self.layout.segments.iter().find(inside).map_or(0, |s| s.file_offset + s.size - offset);
        let mut code = vec![0; usize::try_from(size.min(rest).min(MOST_CODE)).unwrap_or(0)];
        self.file.read_exact_at(&mut code, offset).map_err(|error| unreadable(&self.path, &error))?;
        Ok(code)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.layout.segments
    }

    fn unknown(&self, name: &str) -> Diagnostic {
        let shown = self.path.display();
        if self.ifuncs.iter().any(|ifunc| ifunc == name) {
            let chosen = |f: &&Function| f.name.contains(name) && f.name != name;
            let help = match self.functions.iter().find(chosen) {
                Some(f) => format!("probe what it chooses from, such as `{}`; `*{name}*` covers all", f.name),
                None => "install its debug symbols: they name what it chooses from".to_owned(),
            };
            let message = format!("`{name}` in `{shown}` has no code of its own: a variant is chosen at start (IFUNC)");
            return Diagnostic::script(message).help(help);
        }
        let names = || self.functions.iter().map(|f| f.name.as_str());
        let near = |n: &&str| n.len().abs_diff(name.len()) <= 4;
        let clone = names().find(|n| n.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
        let help = match clone.or_else(|| nearest(name, names().filter(near))) {
            Some(found) => Some(format!("did you mean `{found}`?")),
            None => names().find(|n| n.contains(name)).map(|n| format!("`*{name}*` would match, for instance `{n}`")),
        };
        self.mention_stripped(Diagnostic::script(format!("no function `{name}` in `{shown}`")), help)
    }

    fn mention_stripped(&self, error: Diagnostic, help: Option<String>) -> Diagnostic {
        let stripped = self.stripped.then(|| "the file is stripped: only exported functions are visible".to_owned());
        match (help, stripped) {
            (None, None) => error,
            (Some(help), None) | (None, Some(help)) => error.help(help),
            (Some(help), Some(stripped)) => error.help(format!("{help} ({stripped})")),
        }
    }
}

/// The file of full symbols that a `-dbg` package installs, beside us or in the file's own root.
fn debug_file(path: &Path, build_id: &[u8]) -> Option<File> {
    let hex: String = build_id.iter().map(|b| format!("{b:02x}")).collect();
    let place = format!("usr/lib/debug/.build-id/{}/{}.debug", hex.get(..2)?, hex.get(2..)?);
    let mut roots = vec![PathBuf::from("/")];
    let parts: Vec<_> = path.components().take(4).collect();
    if path.starts_with("/proc") && parts.get(3).is_some_and(|part| part.as_os_str() == "root") {
        roots.push(parts.iter().collect());
    }
    roots.iter().find_map(|root| reader::open(&root.join(&place)).ok())
}
