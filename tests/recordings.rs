//! Recordings: what a live run prints, its replay prints, byte for byte, as nobody and where nothing of the machine is left.

use skep_tests::{Output, Skep, golden, privileged, workload};
use std::path::{Path, PathBuf};

/// A file of this test's own.
fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recordings");
    std::fs::create_dir_all(&folder).expect("the target folder is ours");
    folder.join(name).display().to_string()
}

fn fixture(name: &str) -> PathBuf {
    skep_tests::machine::here("fixtures/recordings").join(name)
}

fn script(text: &str) -> String {
    text.replace("CALLS", &format!("uprobe:{}:workload_double", workload::path()))
        .replace("BIN", &format!("uprobe:{}", workload::path()))
}

/// Records a script on a workload.
fn record(file: &str, verbs: &str, text: &str, options: &[&str]) -> Output {
    let text = script(text);
    let words = ["record", "-o", file, "-c", &workload::line(verbs), "-e", &text];
    let mut output = Skep::new(&words).arguments(options).run();
    // What a replay does not say.
    let (told, recorded) = output.err.rsplit_once("recorded ").expect("it says what it recorded");
    assert!(recorded.contains(" events"), "{recorded}");
    output.err = told.to_owned();
    output
}

fn replay(file: &str, options: &[&str]) -> Skep {
    Skep::new(&["replay", file]).arguments(options)
}

#[track_caller]
fn same(live: &Output, replayed: &Output) {
    assert_eq!(live.out, replayed.out, "{live}\n{replayed}");
    assert_eq!(live.err, replayed.err, "{live}\n{replayed}");
    assert_eq!(live.status, replayed.status, "{live}\n{replayed}");
}

/// Live and replayed are the same, as text and as JSON. Gives what was printed.
#[track_caller]
fn comes_back(name: &str, verbs: &str, text: &str) -> String {
    let mut out = String::new();
    for format in ["json", "text"] {
        let file = file(&format!("{name}.{format}.skep"));
        let live = record(&file, verbs, text, &["--format", format]);
        same(&live, &replay(&file, &["--format", format]).as_nobody().run());
        out = live.out;
    }
    out
}

#[test]
fn aggregation_comes_back() {
    privileged!();
    let out = comes_back("count", "double 1009", r#"probe("CALLS").by(comm, uid).count();"#);
    assert!(out.contains("skep-workload") && out.contains("1,009"), "{out}");
}

#[test]
fn histograms_and_quantiles_come_back() {
    privileged!();
    let text = r#"
        probe("CALLS").hist(arg0).named("first");
        probe("CALLS").by(arg1).lhist(arg0, 0, 1000, 100);
        probe("CALLS").quantiles(arg0);
        probe("CALLS").stats(arg0);
    "#;
    assert!(comes_back("hist", "double 1009", text).contains("p99"));
}

#[test]
fn streams_come_back_in_their_order() {
    privileged!();
    let text = r#"
        probe("CALLS").filter(arg0 <= 101).printf("%d %s %s %d\n", arg0, comm, probe, nsecs);
        probe("tracepoint:syscalls:sys_enter_lseek").fields(pid, nsecs, args.offset);
    "#;
    let out = comes_back("stream", "double 1009 lseek 23 3", text);
    assert!(out.lines().count() > 124, "{out}");
}

#[test]
fn closures_get_the_same_events() {
    privileged!();
    let text = r#"
        let sum = 0;
        probe("CALLS").fields(arg0, comm).each(|e| { sum += e.arg0; if e.arg0 % 100 == 0 { print(`${e} ${time()}`); } });
        run();
        print(sum); print(now());
    "#;
    assert!(comes_back("each", "double 1009", text).contains(&format!("{}", 1009 * 1010 / 2)));
}

#[test]
fn values_are_those_of_the_same_moment() {
    privileged!();
    let text = r#"
        let calls = probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count();
        let n = 0;
        every("20ms", || { n += 1; calls.show(); print(`${n}: ${calls.value().total()} at ${time()}`); if n == 3 { calls.clear(); } });
        at_end(|| print(`after ${n} ticks, ${now()}`));
    "#;
    let out = comes_back("every", "getpgid 23 sleep 50 getpgid 101 sleep 90", text);
    assert!(out.contains("2: ") && out.contains("after "), "{out}");
}

#[test]
fn spans_come_back_with_what_was_not_paired() {
    privileged!();
    let text = r#"span("BIN:workload_begin", "BIN:workload_finish").on(arg0, arg0).by(start.comm).stats(elapsed);"#;
    let out = comes_back("span", "begin 23 1 finish 21 1 finish 2 7", text);
    assert!(out.contains("skep-workload"), "{out}");
}

#[test]
fn call_chains_come_back_with_their_symbols() {
    privileged!();
    let text = r#"
        probe("CALLS").by(kstack(3), ustack).count();
        probe("CALLS").filter(arg0 < 23).fields(ustack(1), usym(arg1), arg0).each(|e| print(`${e.ustack} ${e.arg0}`));
    "#;
    let out = comes_back("chains", "double 1009", text);
    assert!(out.contains("workload_double"), "{out}");
}

#[test]
fn copied_stacks_are_not_kept_but_what_was_counted_is() {
    privileged!();
    let file = file("dwarf.skep");
    let live = record(&file, "spin 211", r#"probe("profile:hz:999").by(ustack).count();"#, &["--unwind", "dwarf"]);
    same(&live, &replay(&file, &[]).as_nobody().run());
    assert!(replay(&file, &["--info"]).run().ok().out.contains("events   0, 0 lost"));
}

#[test]
fn templates_come_back_with_users_and_control_groups() {
    privileged!();
    let text = r#"
        template("opensnoop").filter(path == "/no/such/file").by(#{ user: user_name(uid) }, cgroup, error).count();
        probe("tracepoint:raw_syscalls:sys_enter").filter(args.id == 121).fields(uid, cgroup, args.id).each(|e| print(`${e.uid} ${e.cgroup} ${e.id}`));
    "#;
    let out = comes_back("template", "open 23 /no/such/file getpgid 7", text);
    assert!(out.contains("ENOENT") && out.contains("root"), "{out}");
}

#[test]
fn several_runs_and_their_own_ends_come_back() {
    privileged!();
    let text = r#"
        let first = probe("CALLS").count().run("30ms");
        print(`first ${first}`);
        probe("CALLS").fields(arg0).each(|e| { print(e.arg0); if e.arg0 == 997 { exit(7); } });
        run();
        print("not reached");
    "#;
    for format in ["text", "json"] {
        let file = file(&format!("runs.{format}.skep"));
        let live = record(&file, "sleep 3000 double 1009", text, &["--format", format]).status_is(7);
        assert!(live.out.contains("first 0") && live.out.contains("997") && !live.out.contains("998"), "{live}");
        same(&live, &replay(&file, &["--format", format]).as_nobody().run());
    }
}

#[test]
fn what_a_signal_ended_ends_there_again() {
    privileged!();
    let file = file("signal.skep");
    let text =
        script(r#"probe("BIN:workload_erase").count(); every("10ms", || print("tick")); at_end(|| print("over"));"#);
    let run = Skep::new(&["record", "-o", &file, "-e", &text]).start().attached().printed("tick\n").interrupt();
    let replayed = replay(&file, &[]).as_nobody().run();
    assert_eq!((&run.out, run.status), (&replayed.out, replayed.status), "{run}\n{replayed}");
    assert!(replayed.out.contains("over\n"), "{replayed}");
}

#[test]
fn replay_needs_nothing_of_the_machine() {
    privileged!();
    let file = file("bare.skep");
    let text = r#"probe("tracepoint:raw_syscalls:sys_enter").by(uid, cgroup, args.id, probe).count().top(5);"#;
    let live = record(&file, "getpgid 1009", text, &[]);
    let mounts = "for folder in /sys /etc /proc; do mount -t tmpfs none $folder; done";
    same(&live, &replay(&file, &[]).after_mounts(mounts).run());
}

#[test]
fn another_script_gets_the_same_events() {
    privileged!();
    let file = file("another.skep");
    record(&file, "double 1009", r#"probe("CALLS").fields(arg0, comm);"#, &[]).ok();
    let text = script(r#"let n = 0; probe("CALLS").fields(arg0, comm).each(|e| n += e.arg0); run(); print(n);"#);
    let output = replay(&file, &["-q", "-e", &text]).as_nobody().run().ok();
    assert_eq!(output.out, format!("{}\n", 1009 * 1010 / 2));
    // A view may differ too: of a table, all of its names are there.
    let table = self::file("another_table.skep");
    record(
        &table,
        "getpgid 23 getppid 7",
        r#"probe("tracepoint:raw_syscalls:sys_enter").by(args.id).count().top(1);"#,
        &[],
    )
    .ok();
    let text = r#"probe("tracepoint:raw_syscalls:sys_enter").by(args.id).count().sort_by("id");"#;
    let output = replay(&table, &["-q", "-e", text]).as_nobody().run().ok();
    assert!(output.out.contains("getppid") && output.out.contains("getpgid"), "{output}");
}

#[test]
fn script_that_asks_for_something_else_is_told_what_was_recorded() {
    privileged!();
    let file = file("differs.skep");
    record(
        &file,
        "double 23",
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid > 7).by(comm).count();"#,
        &[],
    )
    .ok();
    let texts = [
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid > 8).by(comm).count()"#,
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count()"#,
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid > 7).by(comm).hist(args.pid)"#,
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid > 7).by(comm).count(); probe("profile:hz:99").count()"#,
        "print(1); run(\"1s\");",
    ];
    let told: Vec<String> =
        texts.iter().map(|text| replay(&file, &["-e", text]).as_nobody().run().status_is(1).err).collect();
    let short = self::file("short.skep");
    record(&short, "sleep 3000", r#"probe("tracepoint:syscalls:sys_enter_getpgid").count().run("20ms");"#, &[]).ok();
    let text =
        "probe(\"tracepoint:syscalls:sys_enter_getpgid\").count().run(\"20ms\");\nprobe(\"profile:hz:99\").count();";
    let output = replay(&short, &["-e", text]).as_nobody().run().status_is(1);
    let error = output.err.find("error: ").map_or("", |at| &output.err[at..]);
    let told = [told, vec![error.to_owned()]].concat();
    golden("recordings/differs", &told.join("\n"));
}

#[test]
fn recording_stops_at_its_size_and_the_run_goes_on() {
    privileged!();
    let file = file("full.skep");
    let text = r#"let n = 0; probe("CALLS").fields(arg0, nsecs, comm, arg1, nsecs * arg0, probe).each(|e| n += 1); run(); print(n);"#;
    let live = record(&file, "double 40009", text, &["--max-size", "64K"]).ok();
    assert!(
        live.err.contains("warning: the recording stops here: it is as large as it may be (64.0KiB; --max-size)"),
        "{live}"
    );
    assert_eq!(live.out, "40009\n");
    let size = std::fs::metadata(&file).expect("it is there").len();
    assert!(size <= 64 << 10, "{size}");
    let replayed = replay(&file, &[]).as_nobody().run().ok();
    let events: u64 = replayed.out.trim().parse().expect("it prints a number");
    assert!((1..40009).contains(&events), "{replayed}");
    assert!(replayed.err.contains("warning: the recording stops "), "{replayed}");
    replay(&file, &["--strict"]).run().status_is(3);
}

#[test]
fn replay_at_a_tenth_of_the_speed_takes_ten_times_as_long() {
    privileged!();
    let file = file("speed.skep");
    let text =
        r#"let n = 0; probe("tracepoint:syscalls:sys_enter_getpgid").count(); every("50ms", || { n += 1; print(n) });"#;
    let live = record(&file, "getpgid 1 sleep 400", text, &[]);
    let took = |options: &[&str]| {
        let since = std::time::Instant::now();
        same(&live, &replay(&file, options).as_nobody().run());
        since.elapsed().as_millis()
    };
    let (at_once, slowly) = (took(&[]), took(&["--speed", "0.1"]));
    assert!(slowly >= 3000 && at_once < 3000, "{at_once} {slowly}");
}

#[test]
fn two_recordings_become_one() {
    privileged!();
    let (first, second, both) = (file("first.skep"), file("second.skep"), file("both.skep"));
    let text = r#"
        let sum = 0;
        probe("CALLS").fields(arg0, nsecs).each(|e| sum += e.arg0);
        probe("CALLS").by(comm).hist(arg0).named("first");
        run(); print(sum);
    "#;
    record(&first, "double 1009", text, &[]).ok();
    record(&second, "name second double 101", text, &[]).ok();
    let merged = Skep::new(&["record", "merge", &first, &second, "-o", &both]).as_nobody().run();
    assert!(merged.err.starts_with("error: failed to write "), "{merged}");
    let merged = Skep::new(&["record", "merge", &first, &second, "-o", &both]).run().ok();
    assert!(merged.err.starts_with("1,110 events in "), "{merged}");
    let output = replay(&both, &["--format", "json"]).as_nobody().run().ok();
    assert_eq!(output.texts(), [format!("{}", 1009 * 1010 / 2 + 101 * 102 / 2)]);
    let counts: Vec<u64> = output.rows().iter().filter_map(|(_, value)| value["n"].as_u64()).collect();
    assert_eq!(counts, [1009, 101], "{output}");
    assert_eq!([output.trust("delivered"), output.trust("counted")], [1110, 1110], "{output}");
    let other = file("other.skep");
    record(&other, "double 1", r#"probe("CALLS").count();"#, &[]).ok();
    let refused = Skep::new(&["record", "merge", &first, &other, "-o", &both]).run().status_is(1);
    assert!(refused.err.contains("are no recordings of the same script"), "{refused}");
}

#[test]
fn recording_of_the_first_version_is_read_for_ever() {
    let file = fixture("v1.skep").display().to_string();
    let mut all = String::new();
    for options in [["--format", "text"], ["--format", "json"]] {
        let output = replay(&file, &options).run().ok();
        all += &format!("{}---\n{}---\n", output.out, output.err);
    }
    all += &replay(&file, &["--info"]).run().ok().out;
    golden("recordings/v1", &all);
}

#[test]
fn what_scripts_of_the_library_printed_has_at_most_80_columns() {
    let areas = std::fs::read_dir(skep_tests::machine::here("../scripts")).expect("the library is there").flatten();
    let texts = areas.filter_map(|area| std::fs::read_dir(area.path()).ok()).flatten().flatten();
    let texts: Vec<PathBuf> =
        texts.map(|file| file.path()).filter(|path| path.extension().is_some_and(|kind| kind == "txt")).collect();
    assert!(texts.len() > 100, "{texts:?}");
    for path in texts {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let (printed, _) = text.split_once("--- standard error\n").expect("it has both streams");
        let long: Vec<&str> = printed.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{}: {long:#?}", path.display());
    }
}

#[test]
fn wide_shows_what_80_columns_have_no_room_for() {
    let file = skep_tests::machine::here("../scripts/flame/profile.skep").display().to_string();
    let printed = |options: &[&str]| replay(&file, options).run().ok().out;
    let function = "<core::ops::range::Range<T> as core::iter::range::RangeIteratorImpl>::spec_next";
    let cut = printed(&[]);
    assert!(!cut.contains(function) && cut.contains("…") && cut.contains("::spec_next  (skep-workload)"), "{cut}");
    assert!(cut.lines().all(|line| line.chars().count() <= 80), "{cut}");
    for whole in [&["--wide"][..], &["--format", "json"], &["--format", "csv"]].map(printed) {
        assert!(whole.contains(function) && !whole.contains('…'), "{whole}");
    }
}

#[test]
fn files_that_are_no_recordings_say_so() {
    let v1 = std::fs::read(fixture("v1.skep")).expect("the fixture is checked in");
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = v1.clone();
        change(&mut bytes);
        std::fs::write(file(name), bytes).expect("the folder is ours");
        let output = replay(&file(name), &["--quiet"]).run();
        let strict = replay(&file(name), &["--strict"]).run();
        let first = strict.err.lines().filter(|line| line.starts_with("error") || line.starts_with("warning"));
        let said: Vec<&str> = first.collect();
        let told = format!("{} {:?} {:?} {}\n", name, output.status, strict.status, said.join("; "));
        told.replace(&file(name), name)
    };
    let mut told = changed("empty.skep", &Vec::clear);
    told += &changed("text.skep", &|bytes| *bytes = b"print(1); // this is a script, not a recording".to_vec());
    told += &changed("later.skep", &|bytes| bytes[8] = 2);
    told += &changed("minor.skep", &|bytes| bytes[10] = 7);
    told += &changed("header.skep", &|bytes| bytes[30] ^= 1);
    told += &changed("cut.skep", &|bytes| bytes.truncate(bytes.len() - 7));
    let last = v1.len() - 3;
    told += &changed("flipped.skep", &move |bytes| bytes[last] ^= 0x10);
    let missing = Skep::new(&["replay", "/no/such/file"]).run().status_is(1);
    told += &missing.err;
    golden("recordings/damaged", &told);
}

#[test]
fn wrong_words_on_the_command_line_are_told() {
    let v1 = fixture("v1.skep").display().to_string();
    let runs: [&[&str]; 6] = [
        &["record", "-e", "print(1)"],
        &["record", "-o", "a", "-o", "b", "-e", "print(1)"],
        &["replay", &v1, "--pid", "7"],
        &["replay", &v1, "--speed", "0"],
        &["record", "-o", "/no/such/folder/a.skep", "-e", "print(1)"],
        &["record", "-o", "a", "--max-size", "7", "-e", "print(1)"],
    ];
    let told: Vec<String> = runs.iter().map(|words| Skep::new(words).run().err.replace(&v1, "v1.skep")).collect();
    golden("recordings/words", &told.join("\n"));
}
