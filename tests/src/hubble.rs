//! Hubble's lines, decoded by Google's protobuf from a schema of the public messages: fixtures/hubble/*.proto.

use crate::machine::{Folder, here, must_run, program};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Decodes every line strictly; how many there were. `None`: nothing here decodes them, which is said.
///
/// # Panics
/// A line is not what protobuf would write; or nothing may be skipped, and protobuf is missing.
#[track_caller]
pub fn decode(lines: &str) -> Option<usize> {
    // Debian's, for whom python3-protobuf is installed.
    let python = Path::new("/usr/bin/python3");
    let has_protobuf = Command::new(python).args(["-c", "import google.protobuf"]).stderr(Stdio::null()).status();
    if program("protoc").is_none() || !has_protobuf.is_ok_and(|status| status.success()) {
        assert!(!must_run(), "needs protobuf-compiler and python3-protobuf");
        println!("skipped in part: needs protobuf-compiler and python3-protobuf");
        return None;
    }
    let (folder, fixtures) = (Folder::new(), here("fixtures/hubble"));
    let mut protoc = Command::new("protoc");
    protoc.arg("-I").arg(&fixtures).arg("--python_out").arg(&folder.0).args(["flow.proto", "observer.proto"]);
    assert!(protoc.status().is_ok_and(|status| status.success()), "{protoc:?}");
    let mut decoder = Command::new(python);
    decoder.arg(fixtures.join("decode.py")).env("PYTHONPATH", &folder.0);
    let mut decoder = decoder
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("failed to start python3: {error}"));
    // It reads all before it answers; where it stops early, it says why.
    let _stopped = decoder.stdin.take().map(|mut input| input.write_all(lines.as_bytes()));
    let output = decoder.wait_with_output().unwrap_or_else(|error| panic!("python3: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}
