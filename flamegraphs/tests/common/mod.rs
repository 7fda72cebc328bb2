//! A small profile with one of everything, and what compares text with a file.

// Each test file is a crate of its own, and none needs all of this.
#![allow(dead_code)]

use skep_flamegraphs::profile::{Frame, Label, Module, Origin, Profile, Stack, ValueType};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// What lies between two samples at 99 Hz.
pub const PERIOD: u64 = 10_101_010;

/// A server and a script: kernel, user, inlined, JIT and unresolved frames, two types of values, labels. 23 samples.
pub fn profile() -> Profile {
    let server = module("/usr/sbin/server", Some(&[0xab, 0x01, 0xff]));
    let libc = module("/usr/lib/libc.so.6", Some(&[0xcd; 20]));
    let kernel = module("[kernel]", None);
    let main = code("main", Origin::User, 0x1139, &server, Some(("server.c", 40)));
    let serve = code("serve", Origin::User, 0x1180, &server, Some(("server.c", 21)));
    let parse = inlined(code("parse", Origin::User, 0x1180, &server, Some(("parse.h", 7))));
    let digit = inlined(code("is_digit", Origin::User, 0x1180, &server, Some(("parse.h", 3))));
    let read = code("read", Origin::User, 0x2a1b0, &libc, None);
    let mut lost = Frame::named("libc.so.6+0x2a1b4", Origin::User);
    (lost.address, lost.module) = (0x2a1b4, Some(libc.clone()));
    lost.unresolved = Some("no symbol there");
    let lost = Arc::new(lost);
    let syscall = code("do_syscall_64", Origin::Kernel, 0xffff_ffff_8100_1000, &kernel, None);
    let vfs = code("vfs_read", Origin::Kernel, 0xffff_ffff_8120_0010, &kernel, None);
    let copy = inlined(code("copy_to_user<&>", Origin::Kernel, 0xffff_ffff_8120_0010, &kernel, None));
    let group = |name| Arc::new(Frame::group(name));
    let mut tick = Frame::named("LazyCompile:*tick app.js:12", Origin::Jit);
    tick.address = 0x7f00_0000_1000;

    let mut profile = Profile::new(
        "server under load",
        vec![ValueType::new("samples", "count"), ValueType::new("cpu", "nanoseconds")],
    );
    profile.period = Some((ValueType::new("cpu", "nanoseconds"), PERIOD));
    profile.started = UNIX_EPOCH.checked_add(Duration::from_secs(1_795_000_000));
    profile.duration = Duration::from_secs(2);
    let mut add = |frames: Vec<Arc<Frame>>, samples: u64, pid: i64, comm: &str| {
        let labels = vec![("pid".into(), Label::Number(pid)), ("comm".into(), Label::Text(comm.into()))];
        profile.stacks.push(Stack { frames, values: vec![samples, samples * PERIOD], labels });
    };
    let below = || vec![group("server"), main.clone(), serve.clone()];
    let with = |more: &[&Arc<Frame>]| below().into_iter().chain(more.iter().map(|frame| (*frame).clone())).collect();
    add(with(&[]), 2, 812, "server");
    add(with(&[&parse, &digit]), 5, 812, "server");
    add(with(&[&parse]), 3, 813, "server");
    add(with(&[&read, &syscall, &vfs, &copy]), 7, 812, "server");
    add(with(&[&read, &lost]), 2, 812, "server");
    add(vec![group("node; 22"), Arc::new(tick)], 4, 900, "node; 22");
    profile
}

fn module(path: &str, build_id: Option<&[u8]>) -> Arc<Module> {
    Arc::new(Module { path: path.into(), build_id: build_id.map(<[u8]>::to_vec) })
}

fn code(name: &str, origin: Origin, address: u64, module: &Arc<Module>, line: Option<(&str, u32)>) -> Arc<Frame> {
    let mut frame = Frame::named(name, origin);
    frame.address = address;
    frame.module = Some(module.clone());
    frame.line = line.map(|(file, line)| (file.into(), line));
    Arc::new(frame)
}

fn inlined(frame: Arc<Frame>) -> Arc<Frame> {
    let mut frame = (*frame).clone();
    frame.inlined = true;
    Arc::new(frame)
}

pub fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Compares with tests/goldens/NAME; SKEP_BLESS=1 rewrites it.
pub fn golden(name: &str, text: &str) {
    let path = here("goldens").join(name);
    if std::env::var_os("SKEP_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
        return;
    }
    let wanted = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error} (SKEP_BLESS=1 writes it)", path.display()));
    for (number, (wanted, found)) in wanted.lines().zip(text.lines()).enumerate() {
        assert_eq!(found, wanted, "{}:{} (SKEP_BLESS=1 rewrites it)", path.display(), number + 1);
    }
    assert_eq!(text.len(), wanted.len(), "{} ends elsewhere (SKEP_BLESS=1 rewrites it)", path.display());
}

/// What a writer writes, as text.
pub fn text(write: impl FnOnce(&mut Vec<u8>) -> Result<(), skep_flamegraphs::Error>) -> String {
    String::from_utf8(bytes(write)).expect("text")
}

/// What a writer writes.
pub fn bytes(write: impl FnOnce(&mut Vec<u8>) -> Result<(), skep_flamegraphs::Error>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).expect("a vector takes everything");
    out
}
