//! The project's own chores: `cargo xtask templates [--check]`, `licences`, `dist`, `site DIR`, `bench`, `fuzz`, `vm`.

mod bench;
mod dist;
mod fuzz;
mod licences;
mod site;
mod sizes;
mod templates;
mod vm;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask templates           compile ebpf-templates/bpf/*.bpf.c into ebpf-templates/objects
       cargo xtask templates --check   fail where an object is not what its source compiles to
       cargo xtask licences            check the licences of all dependencies against deny.toml";

fn main() -> ExitCode {
    if std::env::var_os(dist::LINKS).is_some() {
        return dist::link(std::env::args_os().skip(1).collect());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["templates"] => templates::build(root),
        ["templates", "--check"] => templates::check(root),
        ["licences"] => licences::check(root),
        ["dist"] => dist::run(root),
        ["dist", "--order"] => dist::list(root),
        ["site", folder] => site::write(root, Path::new(folder)),
        ["bench", arguments @ ..] => bench::run(root, arguments),
        ["fuzz", arguments @ ..] => fuzz::run(root, arguments),
        // Its exit status is that of what ran in the guest.
        ["vm", arguments @ ..] => return vm::run(root, arguments).unwrap_or_else(failed),
        _ => Err([USAGE, dist::USAGE, site::USAGE, bench::USAGE, fuzz::USAGE, vm::USAGE].join("\n")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => failed(message),
    }
}

fn failed(message: String) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}
