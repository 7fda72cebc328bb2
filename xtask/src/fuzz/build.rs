//! The targets' programs, built with what libFuzzer counts by. What `cargo fuzz` asks a nightly compiler for are options
//! of LLVM's, which a stable one passes on; no sanitizer: our Rust is safe but for a few places.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Counters at every edge, and both sides of every comparison.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions";

/// Builds `names`, and gives the folder of their programs.
///
/// # Errors
/// They do not compile.
pub fn programs(folder: &Path, names: &[String]) -> Result<PathBuf, String> {
    let host = host()?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--release", "--target", &host]).arg("--manifest-path");
    cargo.arg(folder.join("Cargo.toml")).env("RUSTFLAGS", FLAGS).env_remove("CARGO_TARGET_DIR");
    for name in names {
        cargo.args(["--bin", name]);
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(folder.join("target").join(host).join("release")),
        Ok(_) => Err("fuzz: the targets do not compile".into()),
        Err(error) => Err(format!("fuzz: failed to run cargo: {error}")),
    }
}

/// Named, so that the flags are not those of build scripts and macros.
fn host() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|error| format!("fuzz: no rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "fuzz: rustc does not say what it compiles for".into())
}
