//! The kernel's own structures, read by their type information, and its lists of them: exact in guests, a row of
//! docs/kernel-matrix.md each.

use serde_json::json;
use skep_tests::guest::heard;
use skep_tests::{Skep, Workload, guest, machine::Folder, workload};
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file of this test alone, and its number on its file system.
fn file(folder: &Folder) -> (String, u64) {
    let path = folder.file("seven-and-thirty", "");
    let number = std::fs::metadata(&path).expect("it was written just now").ino();
    (path, number)
}

#[test]
fn pointers_are_followed_to_a_text() {
    guest!();
    let folder = Folder::new();
    let script = r#"
        probe("fentry:vfs_open").by(str(args.path.dentry.d_name.name)).count();
        probe("kprobe:vfs_open+0").by(str(cast(arg0, "struct path").dentry.d_name.name)).count();
    "#;
    let output = heard(|| Skep::on(&format!("open 101 {}", file(&folder).0), script).run());
    for n in 0..2 {
        let rows = output.table(n)["rows"].as_array().cloned().unwrap_or_default();
        assert!(rows.contains(&json!({ "key": { "name": "seven-and-thirty" }, "value": 101 })), "chain {n}: {output}");
    }
}

#[test]
fn pointers_are_followed_to_a_number() {
    guest!();
    let folder = Folder::new();
    let (path, number) = file(&folder);
    let script = format!(r#"probe("kprobe:vfs_open").filter(args.path.dentry.d_inode.i_ino == {number}).count()"#);
    assert_eq!(heard(|| Skep::on(&format!("open 101 {path}"), &script).run()).value(), 101);
}

#[test]
fn paths_of_files_are_found_by_every_way() {
    guest!();
    let folder = Folder::new();
    std::fs::create_dir_all(folder.0.join("one/two")).expect("the folder is ours");
    let path = folder.file("one/two/three", "");
    let script = r#"
        probe("fentry:vfs_open").by(path(args.path)).count();
        probe("fexit:vfs_open").by(path(args.file, 496)).count();
        probe("kprobe:vfs_open+0").by(comm, path(cast(arg0, "struct path"), 256)).count();
        span("kprobe:vfs_open", "kretprobe:vfs_open").by(path(start.args.path)).count();
        probe("rawtracepoint:sys_enter").filter(arg1 == 257 or arg1 == 2).by(path(curtask.mm.exe_file)).count();
    "#;
    let output = heard(|| Skep::on(&format!("open 101 {path}"), script).run());
    for n in 0..4 {
        let rows = output.table(n)["rows"].as_array().cloned().unwrap_or_default();
        let found =
            |row: &&serde_json::Value| row["key"].as_object().is_some_and(|key| key.values().any(|one| *one == path));
        assert_eq!(rows.iter().find(found).map(|row| &row["value"]), Some(&json!(101)), "chain {n}: {output}");
    }
    let rows = output.table(4)["rows"].as_array().cloned().unwrap_or_default();
    let opened = rows.iter().find(|row| row["key"]["exe_file"] == workload::path());
    assert!(opened.is_some_and(|row| row["value"].as_u64() >= Some(101)), "{output}");
}

#[test]
fn bit_field_of_a_raw_tracepoint_is_read() {
    guest!();
    let workload = Workload::stopped("exec 23");
    let script = format!(
        r#"
        probe("rawtracepoint:sched_process_exec").filter(args.p.real_parent.tgid == {pid}).by(args.p.in_execve).count();
        probe("rawtracepoint:sched_process_fork").filter(args.parent.tgid == {pid}).by(args.child.in_execve).count();
    "#,
        pid = workload.pid()
    );
    let run = Skep::script(&script).start().attached();
    workload.go();
    let output = run.interrupt().ok();
    let rows = |value: u8| json!([{ "key": { "in_execve": value }, "value": 23 }]);
    assert_eq!([output.table(0)["rows"].clone(), output.table(1)["rows"].clone()], [rows(1), rows(0)], "{output}");
}

#[test]
fn iterator_finds_every_task() {
    guest!();
    let children: Vec<Workload> = (0..23).map(|_| Workload::stopped("exit 0")).collect();
    // skep is a child of this process as well.
    let script = format!(r#"probe("iter:task").filter(args.task.real_parent.tgid == {}).by(comm).count()"#, own_pid());
    let output = Skep::script(&script).run().ok();
    children.into_iter().for_each(Workload::go);
    assert_eq!(output.row(workload::NAME), 23, "{output}");
}

#[test]
fn iterator_finds_every_open_file() {
    guest!();
    let folder = Folder::new();
    let (path, number) = file(&folder);
    let files: Vec<File> = (0..101).map(|_| File::open(&path).expect("it is there")).collect();
    // Another file system may have a file of the same number.
    let name = Path::new(&path).file_name().and_then(|name| name.to_str()).expect("a file has a name");
    let script = format!(
        r#"probe("iter:task_file").filter(pid == {} and args.file.f_inode.i_ino == {number} and str(args.file.f_path.dentry.d_name.name) == "{name}").count()"#,
        own_pid()
    );
    let output = Skep::script(&script).run().ok();
    drop(files);
    assert_eq!(output.value(), 101, "{output}");
}

#[test]
fn iterator_finds_every_listening_socket() {
    guest!();
    const LISTEN: u8 = 10;
    let sockets: Vec<TcpListener> =
        (0..23).map(|_| TcpListener::bind("127.0.0.1:0").expect("lo is up in guests")).collect();
    let script = format!(r#"probe("iter:tcp").filter(args.sk_common.skc_state == {LISTEN}).count()"#);
    let output = Skep::script(&script).run().ok();
    drop(sockets);
    assert_eq!(output.value(), 23, "{output}");
}

fn own_pid() -> u32 {
    std::process::id()
}
