//! What is run: the C programs of tests/bench, compiled here, skep, and what is installed.

use super::tools::{Installed, Tool};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that are there, and a folder for what they print.
pub struct Programs {
    folder: PathBuf,
    scratch: PathBuf,
    pub skep: PathBuf,
    pub has_c: bool,
    installed: BTreeMap<Tool, Installed>,
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
        let others = Tool::TRACERS.into_iter().chain([Tool::Profile]);
        let installed = others.filter_map(|tool| Some((tool, tool.installed()?))).collect();
        let mut programs = Programs { folder, scratch, skep, has_c, installed, workloads, debug_skep };
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
            Tool::Bpftrace | Tool::LibbpfTools | Tool::Bcc => self.installed.contains_key(&tool),
            Tool::C => self.has_c,
            Tool::Perf => version("perf").is_some() && has_inferno(),
            Tool::Profile => self.installed.contains_key(&tool) && has_inferno(),
        }
    }

    /// The command line of an installed one, as far as it is always the same.
    pub fn line(&self, tool: Tool) -> Option<&[String]> {
        self.installed.get(&tool).map(|installed| installed.line.as_slice())
    }

    /// What an installed one said when it was asked whether it is there.
    pub fn said(&self, tool: Tool) -> Option<&str> {
        self.installed.get(&tool).map(|installed| installed.said.as_str())
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

/// What `PROGRAM --version` says first.
pub fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
}

fn has_inferno() -> bool {
    // They have no --version.
    let helps =
        |program: &str| Command::new(program).arg("--help").output().is_ok_and(|output| output.status.success());
    helps("inferno-flamegraph") && helps("inferno-collapse-perf")
}
