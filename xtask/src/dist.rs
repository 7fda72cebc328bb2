//! `cargo xtask dist`: the binary as it goes to nodes. Linked statically it runs on any distribution, and starts without a
//! loader's work; without relocations it has that much less of memory to write on first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const USAGE: &str = "       cargo xtask dist                target/release/skep, linked statically";

/// Of the crate of the binary alone: flags for all would reach build scripts and procedural macros, which are loaded.
const FLAGS: [&str; 4] = ["-C", "target-feature=+crt-static", "-C", "relocation-model=static"];

/// Bytes that README.md promises not to go beyond.
const LARGEST: u64 = 15_000_000;

/// Builds it and says how large it is.
///
/// # Errors
/// It does not compile, asks for a loader, or is too large.
pub fn run(root: &Path) -> Result<(), String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let skep = build(root, &target)?;
    let size = fs::metadata(&skep).map_err(|error| format!("failed to read {}: {error}", skep.display()))?.len();
    println!("{}: {size} bytes", skep.strip_prefix(root).unwrap_or(&skep).display());
    if size < LARGEST { Ok(()) } else { Err(format!("it has {LARGEST} bytes or more")) }
}

/// The binary's path, once it is built.
///
/// # Errors
/// It does not compile, or asks for a loader.
pub fn build(root: &Path, target: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.current_dir(root).env("CARGO_TARGET_DIR", target);
    command.args(["rustc", "--release", "--locked", "--package", "skep", "--bin", "skep", "--"]).args(FLAGS);
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
