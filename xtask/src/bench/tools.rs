//! The columns of tables: skep, what is built here to compare with, and what others have written and installed.

use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    Skep,
    Bpftrace,
    C,
    /// `syscount`, the one of them that counts calls of the system by process.
    LibbpfTools,
    /// `argdist`.
    Bcc,
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
    /// Those that answer questions about events.
    pub const TRACERS: [Tool; 5] = [Tool::Skep, Tool::Bpftrace, Tool::C, Tool::LibbpfTools, Tool::Bcc];

    /// Each repetition begins with another one.
    pub fn in_turn(tools: &[Tool], repetition: u32) -> Vec<Tool> {
        let mut tools = tools.to_vec();
        let first = repetition as usize % tools.len().max(1);
        tools.rotate_left(first);
        tools
    }

    pub fn name(self) -> &'static str {
        match self {
            Tool::Skep => "skep",
            Tool::Bpftrace => "bpftrace",
            Tool::C => "C",
            Tool::LibbpfTools => "libbpf-tools",
            Tool::Bcc => "BCC",
            Tool::Perf => "perf",
            Tool::Profile => "profile",
            Tool::Empty => "empty",
            Tool::XdpFilter => "xdp-filter",
            Tool::Nftables => "nftables",
        }
    }

    /// Where it is installed: as the environment says, or by one of its usual names. Of the others the areas that use them
    /// find out.
    pub fn installed(self) -> Option<Installed> {
        match self {
            Tool::Bpftrace => installed("BPFTRACE", &["bpftrace"], "--version"),
            // BCC has a tool of this name, too, which knows no --version.
            Tool::LibbpfTools => installed("LIBBPF_SYSCOUNT", &["syscount-libbpf", "syscount"], "--version"),
            Tool::Bcc => installed("BCC_ARGDIST", &["argdist-bpfcc", "/usr/share/bcc/tools/argdist"], "--help"),
            Tool::Profile => installed("LIBBPF_PROFILE", &["profile-libbpf"], "--version"),
            _ => None,
        }
    }
}

/// A program of others.
pub struct Installed {
    /// Its command line, as far as it is always the same.
    pub line: Vec<String>,
    /// What it said when it was asked whether it is there.
    pub said: String,
}

fn installed(variable: &str, usual: &[&str], ask: &str) -> Option<Installed> {
    let wanted = std::env::var(variable).ok();
    let is_wanted = wanted.is_some();
    let lines = wanted.map_or_else(|| usual.iter().map(|name| (*name).to_owned()).collect(), |line| vec![line]);
    let found = lines.into_iter().find_map(|line| {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (program, rest) = line.split_first()?;
        let asked = Command::new(program).args(rest).arg(ask).output().ok()?;
        let said = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        asked.status.success().then_some(Installed { line, said })
    });
    if found.is_none() && is_wanted {
        eprintln!("no column of {}: what {variable} says does not answer to {ask}", usual[0]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_begin_with_each_tool_once() {
        let tools = [Tool::Skep, Tool::C, Tool::Perf];
        let first: Vec<Tool> = (0..4).map(|repetition| Tool::in_turn(&tools, repetition)[0]).collect();
        assert_eq!(first, [Tool::Skep, Tool::C, Tool::Perf, Tool::Skep]);
    }
}
