//! pprof: decoded by another implementation, read back by ours, and of whatever is damaged no panic.

mod common;

use common::{PERIOD, bytes, golden, here, profile};
use skep_flamegraphs::profile::{Frame, Origin, Profile};
use skep_flamegraphs::{fold, pprof};
use std::path::Path;
use std::process::Command;

fn packed(profile: &Profile) -> Vec<u8> {
    bytes(|out| pprof::write(profile, out))
}

#[test]
fn googles_decoder_reads_the_same() {
    // Debian's, for whom python3-protobuf is installed.
    let python = Path::new("/usr/bin/python3");
    let tools = [Command::new("protoc").arg("--version").output(), {
        Command::new(python).args(["-c", "import google.protobuf"]).output()
    }];
    if !tools.iter().all(|output| output.as_ref().is_ok_and(|output| output.status.success())) {
        let promised = std::env::var_os("SKEP_PRIVILEGED").is_some_and(|value| value == "1");
        assert!(!promised, "SKEP_PRIVILEGED=1, but protobuf-compiler and python3-protobuf are missing");
        println!("skipped: needs protobuf-compiler and python3-protobuf");
        return;
    }
    let folder = std::env::temp_dir().join(format!("skep-pprof-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for what protoc writes");
    let file = folder.join("cpu.pb.gz");
    std::fs::write(&file, packed(&profile())).expect("write the profile");
    let fixtures = here("fixtures");
    run(Command::new("protoc").arg("-I").arg(&fixtures).arg("--python_out").arg(&folder).arg("profile.proto"));
    let decode = fixtures.join("decode.py");
    let decoded = run(Command::new(python).arg(decode).arg(&file).env("PYTHONPATH", &folder));
    let _ = std::fs::remove_dir_all(&folder);
    assert!(decoded.ends_with(&format!("totals 23 {}\n", 23 * PERIOD)), "{decoded}");
    golden("pprof.txt", &decoded);
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn what_was_written_reads_back_but_for_groups() {
    let mut wanted = profile();
    for stack in &mut wanted.stacks {
        stack.frames.retain(|frame| frame.origin != Origin::Group);
    }
    let again = pprof::read(&packed(&wanted)).expect("just written");
    let told = |profile: &Profile| {
        let mut profile = profile.clone();
        // Why a frame has no name is not in the file, only that it has none.
        for frame in profile.stacks.iter_mut().flat_map(|stack| &mut stack.frames) {
            let reason = frame.unresolved.is_some().then_some("some");
            *frame = Frame { unresolved: reason, ..(**frame).clone() }.into();
        }
        profile
    };
    assert_eq!(told(&again), told(&wanted));
    assert_eq!(packed(&again), packed(&wanted), "written again the same");
}

#[test]
fn groups_are_left_out() {
    let again = pprof::read(&packed(&profile())).expect("just written");
    let folded = String::from_utf8(bytes(|out| Ok(fold::write(&again, 0, out)?))).expect("text");
    assert_eq!(
        folded,
        "LazyCompile:*tick app.js:12_[j] 4\n\
         main;serve 2\n\
         main;serve;parse_[i] 3\n\
         main;serve;parse_[i];is_digit_[i] 5\n\
         main;serve;read;do_syscall_64_[k];vfs_read_[k];copy_to_user<&>_[i] 7\n\
         main;serve;read;libc.so.6+0x2a1b4 2\n"
    );
}

#[test]
fn an_empty_profile_is_one() {
    let mut empty = profile();
    empty.stacks.clear();
    assert_eq!(pprof::read(&packed(&empty)).expect("just written"), empty);
}

#[test]
fn damage_is_an_error_and_no_panic() {
    let good = packed(&profile());
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*good), &mut plain).expect("just packed");
    assert_eq!(pprof::read(&plain).expect("bare protobuf"), pprof::read(&good).expect("packed"));
    for at in 0..plain.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bad = plain.clone();
            bad[at] ^= change;
            if let Err(error) = pprof::read(&bad) {
                let error = error.to_string();
                assert!(!error.contains('\n') && error.starts_with(|c: char| c.is_lowercase()), "{error}");
            }
        }
        let _ = pprof::read(&plain[..at]);
    }
    for (bytes, message) in [
        (&b""[..], "not a pprof profile: it has no type of values"),
        (b"main;read 12\n", "not a pprof profile: its protobuf is cut short or damaged"),
    ] {
        assert_eq!(pprof::read(bytes).expect_err("no profile").to_string(), message);
    }
}
