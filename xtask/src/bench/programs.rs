//! What is run: the C programs of tests/bench, compiled here, skep, and bpftrace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The columns of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Skep,
    Bpftrace,
    C,
    /// `perf record -g`, `perf script`, and inferno.
    Perf,
    /// `profile` of libbpf-tools, and inferno.
    Profile,
    /// An XDP program that does nothing.
    Empty,
    /// Of xdp-tools.
    XdpFilter,
    /// A set at the ingress of an interface.
    Nftables,
}

impl Tool {
    /// Of all areas but flame graphs.
    pub const ALL: [Tool; 3] = [Tool::Skep, Tool::Bpftrace, Tool::C];

    /// All of them, each repetition beginning with another one.
    pub fn in_turn(repetition: u32) -> [Tool; 3] {
        let mut tools = Tool::ALL;
        tools.rotate_left(repetition as usize % Tool::ALL.len());
        tools
    }

    pub fn name(self) -> &'static str {
        match self {
            Tool::Skep => "skep",
            Tool::Bpftrace => "bpftrace",
            Tool::C => "C",
            Tool::Perf => "perf",
            Tool::Profile => "profile",
            Tool::Empty => "empty",
            Tool::XdpFilter => "xdp-filter",
            Tool::Nftables => "nftables",
        }
    }
}

/// Programs that are there, and a folder for what they print.
pub struct Programs {
    folder: PathBuf,
    scratch: PathBuf,
    pub skep: PathBuf,
    /// Command line, and what it says its version is.
    pub bpftrace: Option<(Vec<String>, String)>,
    pub has_c: bool,
    /// Command line.
    pub profile: Option<Vec<String>>,
    /// Folder of the programs whose graphs are drawn.
    pub workloads: PathBuf,
    /// A large program with debug information, where somebody built it.
    pub debug_skep: Option<PathBuf>,
}

impl Programs {
    /// Compiles tests/bench into target/bench. Without libbpf's headers or clang the C column stays empty.
    ///
    /// # Errors
    /// The load or the watch does not compile, or there is no room for their output.
    pub fn prepare(root: &Path, target: &Path, skep: PathBuf) -> Result<Programs, String> {
        let (sources, folder) = (root.join("tests/bench"), target.join("bench"));
        // The same for all tracers: a file in memory, since only counting its lines tells what bpftrace delivered.
        let memory = Path::new(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" });
        let scratch = memory.join(format!("skep-bench.{}", std::process::id()));
        for path in [&folder, &scratch] {
            fs::create_dir_all(path).map_err(|error| format!("failed to create {}: {error}", path.display()))?;
        }
        let debug_skep = Some(target.join("debug/skep")).filter(|path| path.is_file());
        let workloads = root.join("tests/workloads");
        let has_c = false;
        let bpftrace = installed("BPFTRACE", "bpftrace");
        let profile = installed("LIBBPF_PROFILE", "profile-libbpf").map(|(words, _)| words);
        let mut programs = Programs { folder, scratch, skep, bpftrace, has_c, profile, workloads, debug_skep };
        let cc = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        for name in ["load", "watch", "spent"] {
            programs.compile(
                Command::new(&cc).args(["-O2", "-Wall"]),
                &sources,
                &format!("{name}.c"),
                name,
                &["-ldl"],
            )?;
        }
        let mut flame = Command::new(&cc);
        flame.args(["-O1", "-g", "-fno-omit-frame-pointer"]);
        programs.compile(&mut flame, &programs.workloads, "flame.c", "flame", &[])?;
        programs.compile_library(&sources.join("probed.c"), &programs.built("libprobed.so"))?;
        programs.has_c = match programs.compile_comparators(&cc, &sources) {
            Ok(()) => true,
            Err(message) => {
                eprintln!("no C column: {message}\n(apt-get install clang-19 libbpf-dev)");
                false
            }
        };
        Ok(programs)
    }

    /// One of the programs built here.
    pub fn built(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    pub fn has(&self, tool: Tool) -> bool {
        match tool {
            // Of the last two the measuring itself finds out.
            Tool::Skep | Tool::Empty | Tool::XdpFilter | Tool::Nftables => true,
            Tool::Bpftrace => self.bpftrace.is_some(),
            Tool::C => self.has_c,
            Tool::Perf => version("perf").is_some() && has_inferno(),
            Tool::Profile => self.profile.is_some() && has_inferno(),
        }
    }

    /// A library as distributions build theirs.
    ///
    /// # Errors
    /// It does not compile.
    pub fn compile_library(&self, source: &Path, library: &Path) -> Result<(), String> {
        let cc = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut compile = Command::new(cc);
        compile
            .args(["-O1", "-fno-inline", "-fno-omit-frame-pointer", "-fPIC", "-shared"])
            .arg(source)
            .arg("-o")
            .arg(library);
        if cfg!(target_arch = "x86_64") {
            compile.arg("-fcf-protection=full");
        }
        let done = compile.output().map_err(|error| format!("cc: {error}"))?;
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.success() { Ok(()) } else { Err(format!("{}: {}", source.display(), said.trim())) }
    }

    fn compile_comparators(&self, cc: &str, sources: &Path) -> Result<(), String> {
        let clang = ["clang-19", "clang"].into_iter().find(|name| version(name).is_some()).ok_or("no clang")?;
        let arch = if cfg!(target_arch = "x86_64") { "x86" } else { "arm64" };
        let define = format!("-D__TARGET_ARCH_{arch}");
        let headers = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        for name in ["count", "hist", "span", "stream", "policy", "expressions"] {
            let mut clang = Command::new(clang);
            clang.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", &define, &headers, "-c"]);
            self.compile(&mut clang, sources, &format!("{name}.bpf.c"), &format!("{name}.bpf.o"), &[])?;
        }
        self.compile(Command::new(cc).args(["-O2", "-Wall"]), sources, "tracer.c", "tracer", &["-lbpf"])
    }

    fn compile(
        &self,
        compiler: &mut Command,
        sources: &Path,
        source: &str,
        out: &str,
        with: &[&str],
    ) -> Result<(), String> {
        let program = compiler.get_program().to_string_lossy().into_owned();
        let done = compiler.current_dir(sources).args([source, "-o"]).arg(self.built(out)).args(with).output();
        let done = done.map_err(|error| format!("{program}: {error}"))?;
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.success() { Ok(()) } else { Err(format!("{program} {source}: {}", said.trim())) }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // Left behind, it is a folder in memory until the next start of the machine; nothing to do about it here.
        let _left = fs::remove_dir_all(&self.scratch);
    }
}

/// Builds skep for release, where cargo puts it.
pub fn build_skep(root: &Path, target: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo).current_dir(root).args(["build", "--release", "-p", "skep"]).status();
    match status {
        Ok(status) if status.success() => Ok(target.join("release/skep")),
        Ok(status) => Err(format!("cargo build: {status}")),
        Err(error) => Err(format!("cargo build: {error}")),
    }
}

/// What `PROGRAM --version` says first.
pub fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
}

/// The command line that a variable holds, or its usual one, and what it says its version is.
fn installed(variable: &str, usual: &str) -> Option<(Vec<String>, String)> {
    let line = std::env::var(variable).unwrap_or_else(|_| usual.to_owned());
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let (program, rest) = words.split_first()?;
    let output = Command::new(program).args(rest).arg("--version").output().ok()?;
    if !output.status.success() {
        eprintln!("no column of {usual}: `{line} --version` failed");
        return None;
    }
    Some((words, String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

fn has_inferno() -> bool {
    // They have no --version.
    let helps =
        |program: &str| Command::new(program).arg("--help").output().is_ok_and(|output| output.status.success());
    helps("inferno-flamegraph") && helps("inferno-collapse-perf")
}
