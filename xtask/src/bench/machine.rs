//! The machine and the versions that figures belong to.

use super::programs::{Programs, version};
use super::tools::Tool;
use std::fs;
use std::process::Command;

/// Sentences for the head of the table; no host, no date.
pub fn describe(programs: &Programs) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let is_virtual = field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Local suffixes name builds, not kernels.
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    let skep = version(&programs.skep.to_string_lossy()).unwrap_or_else(|| "skep".to_owned());
    let bpftrace = programs.said(Tool::Bpftrace).unwrap_or("no bpftrace");
    let libbpf = if programs.has_c { libbpf() } else { "no libbpf".to_owned() };
    let kind = if is_virtual { " (a virtual machine)" } else { "" };
    format!("{cpus} CPUs of {model}{kind}, Linux {kernel}; {skep}, {bpftrace}, {libbpf}.")
}

fn libbpf() -> String {
    let asked = Command::new("pkg-config").args(["--modversion", "libbpf"]).output().ok();
    let version = asked.filter(|output| output.status.success()).map(|output| output.stdout);
    let version = version.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    version.map_or("libbpf".to_owned(), |version| format!("libbpf {version}"))
}
