//! `cargo xtask dist`: the binary as it goes to nodes. Linked statically it runs on any distribution, and starts without a
//! loader's work; without relocations it has that much less of memory to write on first.

mod observed;
mod order;

pub use order::{LINKS, link};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const USAGE: &str = "       cargo xtask dist                target/release/skep, linked statically
       cargo xtask dist --order        list anew which functions runs call, to lie first in it; as root";

/// Of the crate of the binary alone: flags for all would reach build scripts and procedural macros, which are loaded.
const FLAGS: [&str; 4] = ["-C", "target-feature=+crt-static", "-C", "relocation-model=static"];

/// Bytes that README.md promises not to go beyond.
const LARGEST: u64 = 15_000_000;

/// Builds it and says how large it is.
///
/// # Errors
/// It does not compile, asks for a loader, or is too large.
pub fn run(root: &Path) -> Result<(), String> {
    let target = target(root);
    let skep = build(root, &target)?;
    let (first, listed) = order::found(root, &target)?;
    println!("{first} of {listed} listed functions lie first");
    let size = fs::metadata(&skep).map_err(|error| format!("failed to read {}: {error}", skep.display()))?.len();
    println!("{}: {size} bytes", skep.strip_prefix(root).unwrap_or(&skep).display());
    if size < LARGEST { Ok(()) } else { Err(format!("it has {LARGEST} bytes or more")) }
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Writes the list of functions, of a binary with symbols that it leaves in place of the other.
///
/// # Errors
/// It does not compile, or does not run.
pub fn list(root: &Path) -> Result<(), String> {
    let skep = built(root, &target(root), &["-C", "strip=none"])?;
    let functions: String = observed::functions(&skep)?.iter().map(|name| format!("{name}\n")).collect();
    let list = root.join(order::LIST);
    fs::write(&list, functions).map_err(|error| format!("{}: {error}", list.display()))
}

/// The binary's path, once it is built.
///
/// # Errors
/// It does not compile, or asks for a loader.
pub fn build(root: &Path, target: &Path) -> Result<PathBuf, String> {
    built(root, target, &[])
}

fn built(root: &Path, target: &Path, more: &[&str]) -> Result<PathBuf, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.current_dir(root).env("CARGO_TARGET_DIR", target).env(LINKS, "1");
    command.args(["rustc", "--release", "--locked", "--package", "skep", "--bin", "skep", "--"]);
    command.args(FLAGS).args(order::flags(root, target)?).args(more);
    let status = command.status().map_err(|error| format!("cargo rustc: {error}"))?;
    if !status.success() {
        return Err(format!("cargo rustc: {status}"));
    }
    let skep = target.join("release/skep");
    match interpreter(&skep)? {
        None => Ok(skep),
        Some(loader) => Err(format!("{} is not static: it asks for {loader}", skep.display())),
    }
}

/// The loader that a program asks for; `None`: it needs none.
fn interpreter(program: &Path) -> Result<Option<String>, String> {
    use object::read::elf::{FileHeader, ProgramHeader};
    let bytes = fs::read(program).map_err(|error| format!("failed to read {}: {error}", program.display()))?;
    let broken = |error: object::Error| format!("{}: {error}", program.display());
    let header = object::elf::FileHeader64::<object::Endianness>::parse(bytes.as_slice()).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    let headers = header.program_headers(endian, bytes.as_slice()).map_err(broken)?;
    let loader = headers.iter().find_map(|header| header.interpreter(endian, bytes.as_slice()).transpose());
    Ok(loader.transpose().map_err(broken)?.map(|name| String::from_utf8_lossy(name).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_with_a_loader_is_told_from_one_without() {
        // Tests are linked as usual.
        let own = std::env::current_exe().unwrap();
        assert!(interpreter(&own).unwrap().is_some_and(|loader| loader.contains("ld-linux")));
        assert!(interpreter(Path::new("/proc/version")).is_err());
    }
}
