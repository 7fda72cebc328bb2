//! Which functions come first in the binary: those that runs call, so that the pages of a run are few. The kernel reads a
//! program by 64 KiB around what is touched, and a start calls 2 of 14 thousand functions: where they lie between the others,
//! nearly all of the program comes into memory.
//!
//! functions.txt lists them by what of their symbols outlives a change elsewhere; the linker takes whole symbols, so that
//! it is called by way of [`link`], which has the objects that they are in.

use object::{Object, ObjectSymbol, SymbolKind};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

pub const LIST: &str = "xtask/src/dist/functions.txt";

/// That this program is called as a linker.
pub const LINKS: &str = "SKEP_XTASK_LINKS";

/// lld's option for it, as a compiler's driver takes it.
const ORDER: &str = "-Wl,--symbol-ordering-file=";

/// How much of the list a binary may lack before it is made anew.
const LACKING: f64 = 0.1;

/// A symbol without what a change of another function, crate or compiler makes of it: hashes and disambiguators.
pub fn stem(symbol: &str) -> String {
    let symbol = symbol.split(".llvm.").next().unwrap_or(symbol);
    if symbol.starts_with("_ZN") {
        let hash = symbol.rfind("17h").filter(|at| symbol.len() == at + 20);
        return hash.map_or(symbol, |at| &symbol[..at]).to_owned();
    }
    if !symbol.starts_with("_R") {
        return symbol.to_owned();
    }
    let mut parts = symbol.split("Cs");
    let mut stem = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric());
        let named = end.filter(|at| part[*at..].starts_with('_')).map(|at| &part[at + 1..]);
        stem += &format!("C{}", named.unwrap_or(part));
    }
    stem
}

/// Flags of rustc for a binary with the listed functions first. The list's name changes with what it says: cargo links
/// again only where flags are others.
///
/// # Errors
/// The list cannot be read, or copied to `target`.
pub fn flags(root: &Path, target: &Path) -> Result<[String; 4], String> {
    let list = read(&root.join(LIST))?;
    let copy = copy(target, &list);
    let folder = copy.parent().unwrap_or(target);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&copy, &list));
    written.map_err(|error| format!("{}: {error}", copy.display()))?;
    let own = std::env::current_exe().map_err(|error| format!("xtask: {error}"))?;
    let (linker, order) = (format!("linker={}", own.display()), format!("link-arg={ORDER}{}", copy.display()));
    Ok(["-C".into(), linker, "-C".into(), order])
}

fn copy(target: &Path, list: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    list.hash(&mut hasher);
    target.join(format!("dist/functions-{:016x}.txt", hasher.finish()))
}

fn symbols_of(list: &Path) -> PathBuf {
    list.with_extension("symbols")
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("failed to read {}: {error}", path.display()))
}

/// The linker that rustc calls: the real one, with the listed functions as the objects name them.
pub fn link(mut arguments: Vec<OsString>) -> ExitCode {
    let linked = ordered(&mut arguments).and_then(|()| {
        Command::new("cc").args(&arguments).status().map_err(|error| format!("failed to run cc: {error}"))
    });
    match linked {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn ordered(arguments: &mut Vec<OsString>) -> Result<(), String> {
    let asks = |(at, argument): (usize, &OsString)| Some((at, PathBuf::from(argument.to_str()?.strip_prefix(ORDER)?)));
    let Some((order, path)) = arguments.iter().enumerate().find_map(asks) else { return Ok(()) };
    let mut symbols = Vec::new();
    for object in arguments.iter().map(Path::new).filter(|path| path.extension().is_some_and(|end| end == "o")) {
        let bytes = fs::read(object).map_err(|error| format!("failed to read {}: {error}", object.display()))?;
        let file = object::File::parse(&*bytes).map_err(|error| format!("{}: {error}", object.display()))?;
        let functions = file.symbols().filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text);
        symbols.extend(functions.filter_map(|symbol| Some(symbol.name().ok()?.to_owned())));
    }
    let text = whole(&read(&path)?, &symbols).concat();
    let path = symbols_of(&path);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    arguments[order] = format!("{ORDER}{}", path.display()).into();
    // Functions of C are in libraries, and not in every version of them.
    arguments.push("-Wl,--no-warn-symbol-ordering".into());
    Ok(())
}

/// The symbols of listed functions, a line each; one that is in no object is C's.
fn whole(list: &str, symbols: &[String]) -> Vec<String> {
    let mut known: HashMap<String, BTreeSet<&str>> = HashMap::new();
    for symbol in symbols {
        known.entry(stem(symbol)).or_default().insert(symbol);
    }
    let line = |name: &str| format!("{name}\n");
    list.lines()
        .flat_map(|name| {
            known.get(name).map_or_else(|| vec![line(name)], |all| all.iter().map(|name| line(name)).collect())
        })
        .collect()
}

/// How many of the listed Rust functions the binary that was linked last has first, and how many there are.
///
/// # Errors
/// It lacks so many that the list is to be made anew.
pub fn found(root: &Path, target: &Path) -> Result<(usize, usize), String> {
    let list = read(&root.join(LIST))?;
    let symbols = read(&symbols_of(&copy(target, &list)))?;
    let is_rust = |name: &&str| name.starts_with("_ZN") || name.starts_with("_R");
    let listed: HashSet<&str> = list.lines().filter(is_rust).collect();
    let linked: HashSet<String> = symbols.lines().filter(|name| !listed.contains(name)).map(stem).collect();
    let there = listed.iter().filter(|name| linked.contains(**name)).count();
    if ((listed.len() - there) as f64) < LACKING * listed.len() as f64 {
        return Ok((there, listed.len()));
    }
    Err(format!("it has {there} of the {} functions that are to be first\nrun: cargo xtask dist --order", listed.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_without_hashes_and_disambiguators() {
        assert_eq!(stem("_ZN4skep4main17h0123456789abcdefE"), "_ZN4skep4main");
        assert_eq!(stem("_ZN4skep4main17h0123456789abcdefE.llvm.77"), "_ZN4skep4main");
        assert_eq!(stem("_RNvMs6_NtCsgEmfK2I1SDS_4core3numm13from_le_bytes"), "_RNvMs6_NtC4core3numm13from_le_bytes");
        assert_eq!(stem("malloc"), "malloc");
    }

    #[test]
    fn listed_functions_are_named_as_the_objects_do() {
        let symbols = ["_ZN1a1b17h0000000000000001E", "_ZN1a1c17h0000000000000002E", "_ZN1a1b17h0000000000000003E"];
        let whole = whole("_ZN1a1b\nmalloc\n", &symbols.map(str::to_owned));
        assert_eq!(whole, ["_ZN1a1b17h0000000000000001E\n", "_ZN1a1b17h0000000000000003E\n", "malloc\n"]);
    }
}
