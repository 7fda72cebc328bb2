//! Modules of the kernel that somebody removes while their functions are watched, and runs that are killed while they
//! watch functions.

use serde_json::json;
use skep_tests::guest::lacks;
use skep_tests::left::Held;
use skep_tests::{Skep, guest};
use std::ffi::CString;
use std::io;
use std::process::Command;

/// Takes a module out of the kernel, as rmmod does.
fn remove(module: &str) -> io::Result<()> {
    let name = CString::new(module).expect("names have no zeros");
    // SAFETY: a name that ends, and a flag.
    let done = unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes devices of a module, and takes them away again.
#[track_caller]
fn devices(kind: &str, number: u32) {
    let line = format!(
        "for n in $(seq {number}); do ip link add twenty$n type {kind} && ip link del twenty$n || exit 1; done"
    );
    let status = Command::new("sh").args(["-c", &line]).status().expect("sh runs");
    assert!(status.success(), "{line}");
}

#[test]
fn module_goes_while_its_functions_have_kprobes_and_the_counts_stay() {
    guest!();
    if !std::path::Path::new("/sys/module/ifb").exists() {
        return lacks("the module ifb");
    }
    let run = Skep::script(r#"probe("kprobe:ifb_dev_init+0").count(); probe("kretprobe:ifb_dev_init").count();"#);
    let run = run.start().attached();
    let held = Held::of(run.pid());
    devices("ifb", 23);
    // The kernel takes its kprobes away with it, where none of them was made a trampoline.
    let removed = remove("ifb");
    let output = run.interrupt().ok();
    assert_eq!(output.table(0)["rows"][0]["value"], 23, "{output}");
    assert_eq!(output.table(1)["rows"][0]["value"], 23, "{output}");
    held.assert_gone();
    match removed {
        Ok(()) => assert!(!std::path::Path::new("/sys/module/ifb").exists()),
        // Held by what is attached: it goes when that has gone.
        Err(error) => {
            assert_eq!(error.raw_os_error(), Some(libc::EWOULDBLOCK), "{error}");
            assert!(remove("ifb").is_ok());
        }
    }
}

#[test]
fn module_stays_while_its_functions_have_trampolines() {
    guest!();
    let mut run = Skep::script(r#"probe("fentry:dummy_dev_init").count()"#).start();
    run.until("it attaches or says why not", |run| run.said("attached") || run.said("error: "));
    if run.said("error: ") {
        let output = run.end().status_is(1);
        assert!(output.err.contains("no type information on module `dummy`"), "{output}");
        return lacks("a kprobe, since modules have no types");
    }
    let held = Held::of(run.pid());
    devices("dummy", 7);
    let error = remove("dummy").expect_err("it is in use");
    assert_eq!(error.raw_os_error(), Some(libc::EWOULDBLOCK), "{error}");
    devices("dummy", 16);
    let output = run.interrupt().ok();
    assert_eq!(output.value(), json!(23), "{output}");
    held.assert_gone();
}

#[test]
fn killed_run_leaves_no_probe_in_a_function() {
    guest!();
    let watched = || std::fs::read_to_string("/sys/kernel/debug/kprobes/list").map(|text| text.lines().count()).ok();
    let before = watched();
    let run = Skep::script(r#"probe("kprobe:vfs_read+0").count(); probe("kretprobe:vfs_write").count();"#);
    let run = run.start().attached();
    let held = Held::of(run.pid());
    assert!(watched() >= before.map(|before| before + 1), "{before:?} kprobes became {:?}", watched());
    run.signal(libc::SIGKILL).end();
    held.assert_gone();
    assert_eq!(watched(), before);
}
