//! Probes that a program's author put there: exact counts, arguments wherever compilers leave them, semaphores.
//!
//! The program is workloads/usdt.c, compiled here; its operands are those of x86-64.
#![cfg(target_arch = "x86_64")]

use serde_json::json;
use skep_tests::machine::here;
use skep_tests::{Skep, golden, privileged};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// The program's file.
static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("usdt");
    let mut compile = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compile.args(["-O2", "-Wall", "-Werror", "-o"]).arg(&program).arg(here("workloads/usdt.c"));
    let status = compile.status().unwrap_or_else(|error| panic!("failed to start {compile:?}: {error}"));
    assert!(status.success(), "{compile:?}");
    program.display().to_string()
});

/// A script with BIN for the program's file.
fn script(text: &str) -> String {
    text.replace("BIN", &PROGRAM)
}

/// A script on `turns` of the program.
fn on(turns: u32, text: &str) -> Skep {
    Skep::script(&script(text)).arguments(&["-c", &format!("{} {turns}", *PROGRAM)])
}

#[test]
fn numbers_have_the_size_and_sign_that_the_note_says() {
    privileged!();
    let text = r#"
        probe("usdt:BIN:skep:numbers").sum(arg0);
        probe("usdt:BIN:numbers").by(arg1 == 101, arg3, arg4).count();
        probe("U:BIN:numbers").filter(arg0 == -arg2 and arg5 == arg2).sum(arg2);
        probe("usdt:BIN:narrow").filter(arg1 < 0).by(arg0 == 4294967296 + arg1).count();
    "#;
    let output = on(101, text).run().ok();
    let value = |n: usize| output.table(n)["rows"][0]["value"].clone();
    assert_eq!([0, 2].map(value), [json!(-101 * 102 / 2), json!(101 * 102 / 2)]);
    let row =
        |last: u64, count: u64| json!({ "key": { "arg1": last, "arg3": -5, "arg4": 4294967295u64 }, "value": count });
    assert_eq!(output.table(1)["rows"], json!([row(0, 100), row(1, 1)]));
    assert_eq!(output.table(3)["rows"][0]["value"], 101);
}

#[test]
fn memory_is_read_by_base_index_and_distance() {
    privileged!();
    let text = r#"
        probe("usdt:BIN:memory").sum(arg0);
        probe("usdt:BIN:memory").sum(arg1);
        probe("usdt:BIN:memory").sum(arg2);
        probe("usdt:BIN:memory").sum(arg3);
        probe("usdt:BIN:variable").max(arg0);
    "#;
    let output = on(101, text).run().ok();
    let sum = 101 * 102 / 2;
    let values: Vec<_> = (0..5).map(|n| output.table(n)["rows"][0]["value"].clone()).collect();
    assert_eq!(values, [sum, 2 * sum, sum, sum, 1101].map(|value| json!(value)));
}

#[test]
fn texts_are_read_from_the_process() {
    privileged!();
    let output = on(101, r#"probe("usdt:BIN:text").by(str(arg0)).count()"#).run().ok();
    assert_eq!(output.rows(), [("odd".to_owned(), json!(51)), ("even".to_owned(), json!(50))]);
}

#[test]
fn sites_of_one_probe_are_read_each_in_its_way() {
    privileged!();
    let text = r#"
        probe("usdt:BIN:sites").count();
        probe("usdt:BIN:sites").by(probe).sum(arg0);
        probe("usdt:BIN:sites").filter(arg0 == 7).count();
    "#;
    let output = on(101, text).run().ok();
    let name = format!("usdt:{}:skep:sites", *PROGRAM);
    assert_eq!(output.table(0)["rows"][0]["value"], 303);
    assert_eq!(output.table(1)["rows"], json!([{ "key": { "probe": name }, "value": 101 * 102 + 7 * 101 }]));
    assert_eq!(output.table(2)["rows"][0]["value"], 103);
}

#[test]
fn globs_are_many_probes_with_their_names() {
    privileged!();
    let output = on(23, r#"probe("usdt:BIN:oth*:*").by(probe).count()"#).run().ok();
    let name = |probe: &str| format!("usdt:{}:other:{probe}", *PROGRAM);
    assert_eq!(output.rows(), [(name("float"), json!(23)), (name("variable"), json!(23))]);
}

#[test]
fn argument_that_cannot_be_read_does_not_matter_unless_it_is_asked_for() {
    privileged!();
    assert_eq!(on(101, r#"probe("usdt:BIN:float").sum(arg1)"#).run().ok().value(), 101 * 102 / 2);
}

#[test]
fn probe_alone_is_one_of_the_command() {
    privileged!();
    assert_eq!(on(101, r#"probe("usdt:numbers").sum(arg2)"#).run().ok().value(), 101 * 102 / 2);
}

#[test]
fn probes_begin_and_end_spans() {
    privileged!();
    let text = r#"span("usdt:BIN:begin", "usdt:BIN:finish").by(start.arg0).max(elapsed)"#;
    let rows = on(101, text).run().ok().rows();
    assert!(rows.len() == 1 && rows[0].0 == "101" && rows[0].1.as_u64() > Some(0), "{rows:?}");
}

/// The program, stopped before each of its rounds of 23 turns.
struct Watched {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Watched {
    fn start() -> Watched {
        let mut command = Command::new(&*PROGRAM);
        command.args(["23", "watched"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Watched { child, out }
    }

    /// What it says its semaphores are; it stops then.
    fn semaphores(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("the program prints");
        let mut status = 0;
        // SAFETY: waits for a stop of our own child.
        let stopped = unsafe { libc::waitpid(self.child.id() as i32, &mut status, libc::WUNTRACED) };
        assert!(stopped == self.child.id() as i32 && libc::WIFSTOPPED(status), "the program ended: {line}");
        line.trim().to_owned()
    }

    fn go_on(&self) {
        // SAFETY: signals our own child, which is not waited for yet.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, libc::SIGCONT) }, 0);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// One at a time: whoever watches without a process watches the others' too.
static WATCHING: Mutex<()> = Mutex::new(());

/// The semaphores while `text` watches, and the run's values; `meanwhile` is done while it does.
#[track_caller]
fn watch(text: &str, arguments: &[&str], meanwhile: impl FnOnce()) -> (String, Vec<u64>) {
    let _alone = WATCHING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut program = Watched::start();
    assert_eq!(program.semaphores(), "0 0");
    let pid = program.child.id();
    let run = Skep::script(&script(text).replace("PID", &pid.to_string()));
    let arguments: Vec<String> = arguments.iter().map(|one| one.replace("PID", &pid.to_string())).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let run = run.arguments(&arguments).start().attached();
    meanwhile();
    program.go_on();
    let watched = program.semaphores();
    let output = run.interrupt().ok();
    program.go_on();
    assert_eq!(program.semaphores(), "0 0", "somebody still watches\n{output}");
    let value = |table: &serde_json::Value| table["rows"][0]["value"].as_u64().unwrap_or_default();
    (watched, output.objects("table").iter().map(value).collect())
}

#[test]
fn semaphore_counts_who_watches() {
    privileged!();
    let (semaphores, values) = watch(r#"probe("usdt:BIN:watched").filter(pid == PID).sum(arg0)"#, &[], || {});
    assert_eq!((semaphores.as_str(), values.as_slice()), ("1 0", [23].as_slice()));
}

#[test]
fn semaphore_counts_each_site() {
    privileged!();
    // Both of one link, where the kernel has such links.
    let text =
        r#"probe("usdt:BIN:twice").filter(pid == PID).count(); probe("usdt:BIN:watched").filter(pid == PID).count();"#;
    let (semaphores, values) = watch(text, &[], || {});
    assert_eq!((semaphores.as_str(), values.as_slice()), ("1 2", [46, 23].as_slice()));
}

#[test]
fn semaphore_is_kept_up_in_the_process_that_is_watched() {
    privileged!();
    let mut other = Watched::start();
    let _zeros = other.semaphores();
    let (semaphores, values) = watch(r#"probe("usdt:watched").sum(arg0)"#, &["-p", "PID"], || {
        other.go_on();
        assert_eq!(other.semaphores(), "0 0");
    });
    assert_eq!((semaphores.as_str(), values.as_slice()), ("1 0", [23].as_slice()));
}

#[test]
fn list_shows_probes_and_the_types_of_their_arguments() {
    let listed = Skep::new(&["list", "-v", &script("usdt:BIN:*")]).run().ok();
    // Where the code lies is the compiler's choice.
    let lines = listed.out.lines().filter(|line| !line.starts_with("    (usdt at "));
    let text: String = lines.map(|line| line.replace(&*PROGRAM, "/usr/bin/watched") + "\n").collect();
    golden("usdt/list", &text);
}

#[test]
fn plan_says_where_the_sites_and_their_semaphore_are() {
    let plan = Skep::new(&["plan", "-e", &script(r#"probe("usdt:BIN:twice").count()"#)]).run().ok();
    let why: Vec<&str> = plan.out.lines().filter_map(|line| line.trim().strip_prefix("why     ")).collect();
    let [why] = why.as_slice() else { panic!("there are several programs\n{plan}") };
    let places: Vec<&str> = why.split("+0x").collect();
    assert!(places.len() == 4 && places[0] == "usdt at " && places[2].ends_with(", semaphore at "), "{plan}");
}

#[test]
fn errors_name_what_is_there() {
    let cases = [
        r#"probe("usdt:BIN:tetx").count();"#,
        r#"probe("usdt:BIN:skep:tetx").count();"#,
        r#"probe("usdt:BIN:skpe:text").count();"#,
        r#"probe("usdt:BIN:skep").count();"#,
        r#"probe("usdt:BIN:skep:banana").count();"#,
        r#"probe("usdt:BIN").count();"#,
        r#"probe("usdt:text").count();"#,
        r#"probe("usdt:/bin/true:text").count();"#,
        r#"probe("usdt:BIN:float").sum(arg0);"#,
        r#"probe("usdt:BIN:variable").filter(arg0 > 0).sum(arg1);"#,
        r#"probe("usdt:BIN:text").by(arg0, arg1).count();"#,
        r#"probe("usdt:BIN:finish").sum(arg0);"#,
        r#"probe("usdt:BIN:text").sum(retval);"#,
        r#"probe("usdt:BIN:text").sum(args.name);"#,
        r#"span("usdt:BIN:begin", "usdt:BIN:finish").by(arg0).hist(elapsed);"#,
    ];
    // A path of the length that it has in the golden, so that the carets stay where they are.
    let link = format!("/tmp/skep-usdt-{:010}", std::process::id());
    let _gone = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(&*PROGRAM, &link).expect("/tmp can be written to");
    let mut text = String::new();
    for case in cases {
        let case = case.replace("BIN", &link);
        let output = Skep::new(&["plan", "-e", &case]).run().status_is(1);
        assert!(output.err.starts_with("error: ") && output.out.is_empty(), "{output}");
        text += &output.err;
        text.push('\n');
    }
    let _gone = std::fs::remove_file(&link);
    golden("usdt/errors", &text.replace(&link, "/tmp/skep-usdt-0000000000"));
}

#[test]
fn place_that_is_watched_by_its_address_too_is_an_error() {
    privileged!();
    let listed = Skep::new(&["list", "-v", &script("usdt:BIN:watched")]).run().ok();
    let place = listed.out.split_once("usdt at +").and_then(|(_, rest)| Some(rest.split_once(',')?.0));
    let place = place.unwrap_or_else(|| panic!("no place is shown\n{listed}"));
    let text = format!(r#"probe("uprobe:BIN:{place}").count(); probe("usdt:BIN:watched").count();"#);
    let output = on(1, &text).run().status_is(1);
    assert!(output.err.contains(": somebody watches this place without its semaphore\n"), "{output}");
    assert!(output.err.ends_with("  = help: watch it by its usdt name alone, not by its address too\n"), "{output}");
}
