//! Programs of this machine that the laboratory needs, and what to install where one is missing.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Program, and the package of Debian that has it.
const PACKAGES: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("cc", "gcc"),
    ("debootstrap", "debootstrap"),
    ("depmod", "kmod"),
    ("ldd", "libc-bin"),
    ("lz4", "lz4"),
    ("mke2fs", "e2fsprogs"),
    ("setpriv", "util-linux"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// Runs a command to its end; its standard output.
pub fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| missing(command, &error))?;
    finished(command, output)
}

/// The same with `input` on its standard input.
pub fn filter(command: &mut Command, input: &[u8]) -> Result<Vec<u8>, String> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| missing(command, &error))?;
    let mut stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A program that wants no more input is no error here: its status tells.
        scope.spawn(move || stdin.take().map(|mut stdin| stdin.write_all(input)));
        child.wait_with_output()
    });
    finished(command, output.map_err(|error| missing(command, &error))?)
}

/// Runs a command whose output nobody reads.
pub fn run(command: &mut Command) -> Result<(), String> {
    output(command).map(drop)
}

fn finished(command: &Command, output: Output) -> Result<Vec<u8>, String> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}\n{}", name(command), output.status, said.trim()))
}

fn missing(command: &Command, error: &std::io::Error) -> String {
    let name = name(command);
    let package = PACKAGES.iter().find(|(program, _)| *program == name).map_or(name.as_str(), |(_, package)| package);
    format!("failed to run `{name}`: {error}\nrun: apt-get install -y {package}")
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}
