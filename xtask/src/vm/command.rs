//! `cargo xtask vm …`: its arguments, and one guest or all of them.

use super::binaries::Binaries;
use super::cache::Cache;
use super::guest::Guest;
use super::image::Put;
use super::kernels::Kernel;
use super::{compare, fetch, matrix};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

pub const USAGE: &str = "       cargo xtask vm KERNEL [OPTION...] -- COMMAND...   run COMMAND in an emulated guest; KERNEL: 5.10, 6.1, 6.12, newest
         --put FILE:PATH         a file of this machine; --put-bin FILE:PATH: with its shared libraries
         --root DIR              DIR becomes the guest's root (a copy; it may write)
         --cpus N --mem SIZE     (2 and 1G); --timeout SECONDS (120)
         --env NAME=VALUE        --append TEXT: for the kernel's command line
         exit status: COMMAND's; 124 it took too long; 125 the guest crashed
       cargo xtask vm --matrix [--kernels A,B] [--write|--check]   the kernel tests on every kernel
         --write                 the result to docs/kernel-matrix.md; --check: fail where it differs from that
       cargo xtask vm --compare [--kernels A,B] [--write]   skep and bpftrace on the same workloads";

/// # Errors
/// Wrong arguments; a kernel that cannot be had; a guest that does not start; tests that fail.
pub fn run(root: &Path, words: &[&str]) -> Result<ExitCode, String> {
    match words {
        ["--matrix", options @ ..] => matrix::run(root, options),
        ["--compare", options @ ..] => compare::run(root, options),
        [kernel, options @ ..] if !kernel.starts_with('-') => one(root, Kernel::named(kernel)?, options),
        _ => Err(format!("usage:\n{USAGE}")),
    }
}

fn one(root: &Path, kernel: Kernel, words: &[&str]) -> Result<ExitCode, String> {
    let guest = parse(words)?;
    let cache = Cache::open()?;
    let binaries = Binaries::build(root, &[])?;
    let qemu = fetch::qemu(&cache)?;
    let fetched = fetch::kernel(&cache, kernel)?;
    eprintln!("vm: Linux {} ({})", fetched.release, fetched.package);
    let ended = guest.run(&cache, &qemu, &fetched, &binaries, std::io::stdout(), std::io::stderr())?;
    if let Some(console) = ended.console {
        eprintln!("vm: status {}; the end of the guest's console:\n{console}", ended.status);
    }
    Ok(ExitCode::from(ended.status))
}

fn parse(words: &[&str]) -> Result<Guest, String> {
    let mut guest = Guest::of(Vec::new());
    let mut words = words.iter().copied();
    while let Some(option) = words.next() {
        if option == "--" {
            guest.command = words.map(str::to_owned).collect();
            break;
        }
        let value = words.next().ok_or_else(|| format!("vm: `{option}` lacks a value\nusage:\n{USAGE}"))?;
        let wrong = || format!("vm: `{option}` does not take `{value}`\nusage:\n{USAGE}");
        match option {
            "--put" | "--put-bin" => {
                let (from, to) = value.split_once(':').ok_or_else(wrong)?;
                guest.put.push(Put { libraries: option == "--put-bin", ..Put::new(from, to) });
            }
            "--root" => guest.root = Some(PathBuf::from(value)),
            "--cpus" => guest.cpus = value.parse().map_err(|_| wrong())?,
            "--mem" => guest.memory = value.to_owned(),
            "--append" => guest.append = value.to_owned(),
            "--timeout" => guest.timeout = Duration::from_secs(value.parse().map_err(|_| wrong())?),
            "--env" => {
                let (name, value) = value.split_once('=').ok_or_else(wrong)?;
                guest.environment.push((name.to_owned(), value.to_owned()));
            }
            _ => return Err(format!("vm: what is `{option}`?\nusage:\n{USAGE}")),
        }
    }
    if guest.command.is_empty() {
        return Err(format!("vm: no command; it stands behind `--`\nusage:\n{USAGE}"));
    }
    Ok(guest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_stands_behind_the_dashes_as_it_is() {
        let guest = parse(&["--put", "a:bin/b", "--cpus", "1", "--env", "A=b=c", "--", "sh", "-c", "--cpus 3"]);
        let guest = guest.expect("it parses");
        assert_eq!(guest.command, ["sh", "-c", "--cpus 3"]);
        assert_eq!((guest.cpus, &guest.put), (1, &vec![Put::new("a", "bin/b")]));
        assert_eq!(guest.environment, [("A".to_owned(), "b=c".to_owned())]);
        assert!(parse(&["--cpus"]).is_err() && parse(&["--cpus", "2"]).is_err() && parse(&["--", "x"]).is_ok());
    }
}
