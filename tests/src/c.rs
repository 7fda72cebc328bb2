//! C programs of tests, compiled where the tests run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Flags that keep a call chain whole for those that follow frame pointers. With optimisation gcc leaves the frames of leaf
/// functions out, whatever its options say.
pub const FRAMES: &[&str] = &["-O0", "-fno-omit-frame-pointer"];

/// Compiles `source` as `name` into a folder of the tests'.
///
/// # Panics
/// No compiler, or the program is wrong.
pub fn program(folder: &str, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(folder);
    let (text, program) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&text, source).unwrap_or_else(|error| panic!("failed to write {}: {error}", text.display()));
    let mut compile = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compile.args(["-g", "-Wall", "-Werror"]).args(flags).arg("-o").arg(&program).arg(&text);
    let status = compile.status().unwrap_or_else(|error| panic!("failed to start {compile:?}: {error}"));
    assert!(status.success(), "{compile:?}");
    program
}
