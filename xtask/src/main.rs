//! The project's own chores: `cargo xtask templates [--check]`, `licences`, `bench`.

mod bench;
mod licences;
mod templates;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask templates           compile ebpf-templates/bpf/*.bpf.c into ebpf-templates/objects
       cargo xtask templates --check   fail where an object is not what its source compiles to
       cargo xtask licences            check the licences of all dependencies against deny.toml";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["templates"] => templates::build(root),
        ["templates", "--check"] => templates::check(root),
        ["licences"] => licences::check(root),
        ["bench", arguments @ ..] => bench::run(root, arguments),
        _ => Err(format!("{USAGE}\n{}", bench::USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
