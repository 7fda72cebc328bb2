//! How long the programs of templates are, in instructions: the same on every machine, unlike times, so that what makes
//! them longer is seen in the change that does it.

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Bytes of an instruction.
const INSTRUCTION: u64 = 8;

/// A line for each object, and one for each of its programs and functions.
///
/// # Errors
/// An object that is none.
pub fn text(objects: &BTreeMap<PathBuf, Vec<u8>>) -> Result<String, String> {
    let mut text =
        String::from("# Bytes of each object, instructions of its programs; written by `cargo xtask templates`.\n");
    for (path, bytes) in objects {
        let lines = functions(path, bytes)?;
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{} {}", path.display(), bytes.len());
        for (name, length) in lines {
            let _infallible = writeln!(text, "    {name} {length}");
        }
    }
    Ok(text)
}

/// Instructions of an object's functions, by section and name.
///
/// # Errors
/// It is no object.
pub fn functions(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, u64>, String> {
    let fail = |error: object::Error| format!("{}: {error}", path.display());
    let file = object::File::parse(bytes).map_err(fail)?;
    let mut functions = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let section = symbol.section_index().ok_or_else(|| format!("{}: a function without code", path.display()))?;
        let section = file.section_by_index(section).map_err(fail)?;
        let name = symbol.name().map_err(fail)?;
        let shown = format!("{} {name}", section.name().map_err(fail)?);
        functions.insert(shown, symbol.size() / INSTRUCTION);
    }
    Ok(functions)
}
