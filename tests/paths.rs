//! Paths of files: what the kernel itself says of every open file, in /proc/PID/fd, is what `path()` finds.

use skep_tests::machine::{Folder, program};
use skep_tests::{Output, Skep, privileged, workload};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// The paths that an iterator finds of a process's files, by descriptor.
fn found(pid: u32, column: &str) -> (BTreeMap<i32, String>, Output) {
    let script = format!(r#"probe("iter:task_file").filter(pid == {pid}).fields(args.fd, #{{ found: {column} }});"#);
    let output = Skep::script(&script).run().ok();
    let row = |event: &serde_json::Value| {
        let fields = &event["fields"];
        Some((fields["fd"].as_i64()? as i32, fields["found"].as_str()?.to_owned()))
    };
    (output.objects("event").iter().filter_map(row).collect(), output)
}

/// What the kernel says itself.
fn link(pid: u32, fd: i32) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("it is open");
    link.to_str().expect("the tests' files have sound names").to_owned()
}

fn opened(path: &Path) -> OwnedFd {
    File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

/// A descriptor that a system call made.
fn made(fd: i32) -> OwnedFd {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn memory(name: &CStr) -> OwnedFd {
    // SAFETY: the name ends with a NUL.
    made(unsafe { libc::memfd_create(name.as_ptr(), 0) })
}

/// Everything that has a descriptor, the folders of the test included.
fn files(folder: &Folder) -> Vec<OwnedFd> {
    let deep = folder.0.join("one/two/three");
    std::fs::create_dir_all(&deep).expect("the folder is ours");
    let (here, gone) = (folder.file("one/two/three/grüße", ""), folder.file("one/gone", ""));
    let gone = File::open(gone).expect("it is there");
    std::fs::remove_file(folder.0.join("one/gone")).expect("it was there");
    let (left, right) = UnixStream::pair().expect("sockets can be made");
    let mut pipe = [0; 2];
    // SAFETY: the kernel writes two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let mut files: Vec<OwnedFd> = [Path::new(&here), &deep, &folder.0].map(opened).into();
    files.extend(["/", "/proc", "/proc/self/stat", "/dev/null", "/sys/kernel"].map(|path| opened(Path::new(path))));
    files.extend([gone.into(), left.into(), right.into(), made(pipe[0]), made(pipe[1]), memory(c"skep")]);
    files.push(TcpListener::bind("127.0.0.1:0").expect("there is a loopback").into());
    // SAFETY: these make descriptors and take no memory.
    files.extend(unsafe { [made(libc::epoll_create1(0)), made(libc::eventfd(0, 0))] });
    files
}

#[test]
fn paths_are_those_of_proc() {
    privileged!();
    let folder = Folder::new();
    let (files, own) = (files(&folder), std::process::id());
    for column in ["path(args.file)", "path(args.file, 512)", "path(args.file.f_path)"] {
        let (paths, output) = found(own, column);
        for file in &files {
            let fd = file.as_raw_fd();
            assert_eq!(paths.get(&fd), Some(&link(own, fd)), "{column} of {fd}: {output}");
        }
    }
    let (names, output) = found(own, "path(args.file.f_path.dentry)");
    let file = files[0].as_raw_fd();
    assert!(names.get(&file).is_some_and(|name| link(own, file).ends_with(name)), "{output}");
}

#[test]
fn long_path_keeps_its_end() {
    privileged!();
    let (folder, own) = (Folder::new(), std::process::id());
    let long = folder.0.join(["a".repeat(40), "b".repeat(200), "c".repeat(60)].join("/"));
    std::fs::create_dir_all(&long).expect("the folder is ours");
    let file = File::create(long.join("d")).expect("the folder is ours");
    let (fd, path) = (file.as_raw_fd(), link(own, file.as_raw_fd()));
    let (whole, output) = found(own, "path(args.file, 512)");
    assert_eq!(whole.get(&fd), Some(&path), "{output}");
    let (cut, output) = found(own, "path(args.file)");
    // In 120 bytes: two names, a third of 32 bytes.
    assert_eq!(cut.get(&fd), Some(&format!("…/{}…/{}/d", "b".repeat(31), "c".repeat(60))), "{output}");
    drop(file);
}

/// In a mount namespace of its own: a folder and a file that are mounted elsewhere, and one that is mounted in that.
#[test]
fn mounts_are_crossed() {
    privileged!();
    let Some(unshare) = program("unshare") else { return };
    let folder = Folder::new();
    let script = "
        mkdir -p real/below bound/inner && echo > real/below/file && echo > real/single && echo > bound/alone &&
        mount --bind bound/alone bound/alone && mount --bind real/single bound/alone &&
        mount -t tmpfs none bound/inner && mkdir bound/inner/real && mount --bind real bound/inner/real &&
        exec 5<bound/alone 6<bound/inner/real/below/file 7<bound/inner/real 8<bound/inner 9<real/below/file &&
        rm real/single && echo ready && read line";
    let mut holder = Command::new(unshare);
    holder.args(["--mount", "sh", "-c", script]).current_dir(&folder.0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().expect("it is there");
    let mut line = String::new();
    let said = holder.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    assert!(matches!(said, Some(Ok(_))) && line == "ready\n", "the shell said `{line}`");
    let (paths, output) = found(holder.id(), "path(args.file)");
    for fd in 5..=9 {
        assert_eq!(paths.get(&fd), Some(&link(holder.id(), fd)), "{fd}: {output}");
    }
    assert!(paths[&5].ends_with("/bound/alone (deleted)") && paths[&6].ends_with("/bound/inner/real/below/file"));
    drop(holder.stdin.take());
    assert!(holder.wait().is_ok_and(|status| !status.success()), "`read` meets the end");
}

#[test]
fn paths_are_keys_and_spans_keep_them() {
    privileged!();
    let workload = workload::path();
    let script = r#"
        probe("tracepoint:syscalls:sys_enter_getpgid").by(path(curtask.mm.exe_file)).count();
        probe("tracepoint:syscalls:sys_enter_getpgid").by(path(curtask.fs.pwd, 256), comm, path(curtask.fs.root)).count();
        span("rawtracepoint:sys_enter", "rawtracepoint:sys_exit").filter(start.arg1 == 121)
            .by(path(start.curtask.mm.exe_file)).count();
    "#;
    let output = Skep::on("getpgid 1009", script).run().ok();
    let here = std::env::current_dir().expect("tests run somewhere");
    let rows = |n: usize| output.table(n)["rows"].clone();
    assert_eq!(rows(0), serde_json::json!([{ "key": { "exe_file": workload }, "value": 1009 }]), "{output}");
    let key = serde_json::json!({ "pwd": here.display().to_string(), "comm": workload::NAME, "root": "/" });
    assert_eq!(rows(1), serde_json::json!([{ "key": key, "value": 1009 }]), "{output}");
    assert_eq!(rows(2), serde_json::json!([{ "key": { "exe_file": workload }, "value": 1009 }]), "{output}");
}

/// What an error says above the script and below it.
fn refused(chain: &str) -> String {
    let output = Skep::new(&["plan", "-e", chain]).run().status_is(1);
    let said = |line: &&str| line.starts_with("error") || line.contains("= help");
    output.err.lines().filter(said).collect::<Vec<_>>().join(" ")
}

#[test]
fn paths_are_no_conditions_and_pair_nothing() {
    privileged!();
    for condition in ["path(args.file) == \"/etc/passwd\"", "starts_with(path(args.file), \"/etc\")", "path(args.file)"]
    {
        assert_eq!(
            refused(&format!("probe(\"iter:task_file\").filter({condition}).count()")),
            "error: `path(args.file)` is known here only: the kernel cannot compare it   = help: test each event here: \
             .fields(path(args.file)).each(|e| if e.file == \"/etc/passwd\" { … })"
        );
    }
    assert_eq!(
        refused(
            "span(\"rawtracepoint:sys_enter\", \"rawtracepoint:sys_exit\")
                .on(path(curtask.mm.exe_file), path(curtask.mm.exe_file)).count()"
        ),
        "error: spans are not paired by paths   = help: pair them by the file itself: \
         .on(curtask.mm.exe_file, curtask.mm.exe_file)"
    );
}
