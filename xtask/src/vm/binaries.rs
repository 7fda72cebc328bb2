//! What runs in guests, built here: static, so that it needs nothing of the guest.

use super::tool;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "guest";

/// Test targets of tests/Cargo.toml that belong in guests; the others compare with tools or files of the host.
pub const TESTS: [&str; 10] = [
    "kernel_functions",
    "kernel_matrix",
    "kernel_packets",
    "kernel_processes",
    "kernel_reliability",
    "kernel_sockets",
    "kernel_templates",
    "kernel_tools",
    "kernel_types",
    "kernel_usdt",
];

/// Built binaries.
pub struct Binaries {
    folder: PathBuf,
    /// Name of the test target, and its file.
    pub tests: Vec<(String, PathBuf)>,
}

impl Binaries {
    /// `skep`, `guest-agent`, `skep-workload`, and with `tests` the test targets.
    ///
    /// # Errors
    /// cargo has said it.
    pub fn build(root: &Path, tests: &[&str]) -> Result<Binaries, String> {
        if !cfg!(target_arch = "x86_64") {
            return Err("vm: guests are x86-64, built on x86-64".to_owned());
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.current_dir(root).args(["build", "--quiet", "--locked", "--target", TARGET, "--profile", PROFILE]);
        build.args(["-p", "skep", "-p", "skep-tests", "--bin", "skep", "--bin", "skep-workload"]);
        build.args(["--bin", "guest-agent", "--message-format", "json-render-diagnostics"]);
        build.args(tests.iter().flat_map(|test| ["--test", test]));
        let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        flags += " -C target-feature=+crt-static";
        let built = build.env("RUSTFLAGS", flags).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let built = built.map_err(|error| format!("failed to run cargo: {error}"))?;
        if !built.status.success() {
            return Err("vm: what runs in guests does not build".to_owned());
        }
        let mut binaries = Binaries { folder: PathBuf::new(), tests: Vec::new() };
        for line in built.stdout.split(|byte| *byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
            let (Some(file), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str()) else {
                continue;
            };
            if message["target"]["kind"][0] == "test" {
                binaries.tests.push((name.to_owned(), file.into()));
            } else if name == "skep" {
                binaries.folder = Path::new(file).parent().map(Path::to_owned).unwrap_or_default();
            }
        }
        binaries.tests.sort();
        Ok(binaries)
    }

    /// A program in C, static as the others are.
    ///
    /// # Errors
    /// There is no C compiler, or it does not like it.
    pub fn compile(&self, source: &Path, name: &str) -> Result<PathBuf, String> {
        let (mut compile, program) = (Command::new("cc"), self.program(name));
        tool::run(compile.args(["-O2", "-static", "-o"]).arg(&program).arg(source))?;
        Ok(program)
    }

    /// A program by its name.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
