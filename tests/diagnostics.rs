//! Diagnostics: every error that a script can meet, as its author sees it. Scripts are planned for the captured machine,
//! so that no privilege is needed and no message depends on this one. One golden for each part of the language.

use skep_tests::golden;
use skep_tests::machine::here;
use skep_tests::{Output, Skep, privileged, workload};

/// The chain that most cases end: `…` stands for it.
const OPENS: &str = r#"probe("tracepoint:syscalls:sys_enter_openat")"#;

#[track_caller]
fn planned(script: &str) -> Output {
    let machine = here("fixtures/machine").display().to_string();
    Skep::new(&["plan", "--machine", &machine, "-e", script]).run()
}

/// Compares the errors of `cases` with goldens/diagnostics/`name`.txt.
#[track_caller]
fn errors(name: &str, cases: &[&str]) {
    let mut text = String::new();
    for case in cases {
        let output = planned(&case.replace('…', OPENS)).status_is(1);
        assert!(output.err.starts_with("error: ") && output.out.is_empty(), "{output}");
        text += &output.err;
        text.push('\n');
    }
    golden(&format!("diagnostics/{name}"), &text);
}

#[test]
fn attach_points_that_are_not_there() {
    errors(
        "attach_points",
        &[
            r#"probe("tracepiont:sched:sched_switch").count();"#,
            r#"probe("banana:sched").count();"#,
            r#"probe("kprobe:").count();"#,
            r#"probe("tracepoint").count();"#,
            r#"probe("tracepoint:sched").count();"#,
            r#"probe("tracepoint:syscalls:sys_enter_getpgdi").count();"#,
            r#"probe("tracepoint:syscall:sys_enter_getpgid").count();"#,
            r#"probe("tracepoint:syscalls:nothing_*").count();"#,
            r#"probe(["t:sched:sched_switch", "t:sched:sched_swicth"]).count();"#,
            r#"probe("software:page-fault").count();"#,
            r#"probe("software:faults:none").count();"#,
            r#"probe("profile:min:1").count();"#,
            r#"probe("profile:hz:0").count();"#,
        ],
    );
}

#[test]
fn kernel_functions_that_cannot_be_watched() {
    errors(
        "kernel_functions",
        &[
            r#"probe("kprobe:vfs_raed").count();"#,
            r#"probe("kretprobe:something_else_entirely").count();"#,
            r#"probe("kprobe:nothing_*").count();"#,
            r#"probe("kprobe:match_id").count();"#,
            r#"probe("kprobe:asm_exc_divide_error").count();"#,
            r#"probe("fentry:entry_SYSCALL_64").count();"#,
            r#"probe("kprobe:__die*").count();"#,
            r#"probe("kretprobe:do_exit").count();"#,
            r#"probe("kretprobe:vfs_read+4").count();"#,
            r#"probe("kprobe:vfs_read+four").count();"#,
            r#"probe("kprobe:0xwhere").count();"#,
            r#"probe("kprobe:a:b:c").count();"#,
            r#"probe("kprobe:vfs_read").by(retval).count();"#,
            r#"probe("fentry:vfs_read").by(retval).count();"#,
            r#"probe("kretprobe:vfs_read").by(arg0).count();"#,
            r#"probe("kprobe:vfs_read").by(arg7).count();"#,
        ],
    );
}

#[test]
fn names_that_mean_nothing() {
    errors(
        "names",
        &[
            "….by(com).count();",
            "….by(banana).count();",
            "…\n    .filter(args.filenam == 1)\n    .count();",
            "….sum(args.ret);",
            "….by(args.filename.x).count();",
            r#"probe("profile:hz:99").by(args.x).count();"#,
            r#"probe("profile:hz:99").hist(elapsed);"#,
            "….filtr(pid == 1).count();",
            "….banana();",
            r#"prob("tracepoint:syscalls:sys_enter_openat");"#,
            "….print();",
            r#"import "no/such/script" as x;"#,
            "….by(comm, pid).count().sort_by(\"com\");",
            "let total = 1;\nprint(totl);",
            "fn twice(n) { n * 2 }\nprint(twic(1));",
            "fn twice(n) { n * 2 }\nprint(twice());",
            "exit;",
        ],
    );
}

#[test]
fn expressions_that_the_kernel_cannot_have() {
    errors(
        "expressions",
        &[
            "…\n    .filter(|e| e.pid == 18644)\n    .count();",
            "….hist(|e| e.pid);",
            "….filter(true).count();",
            "….filter(pid == 1 && tid == 1).count();",
            "….filter(pid == 1 || tid == 1).count();",
            "….filter((pid == 1 && comm == \"a && b\") || uid == 0).count();",
            "let mine = pid == 1 && tid == 1;",
            "….filter(pid ** 2 == 4).count();",
            "if pid == 1 { print(\"one\"); }",
            "while pid == 1 { print(\"one\"); }",
            "….filter(!pid).count();",
            "….filter(args.flags & 3 == 0).count();",
            "….filter(pid == 1 | tid == 1).count();",
            "….filter(comm == 7).count();",
            "….filter(pid == \"bash\").count();",
            "….filter(comm == 'b').count();",
            "….filter(comm < \"bash\").count();",
            "….filter(comm + \"x\" == \"y\").count();",
            "….filter(args.filename == \"/etc/passwd\").count();",
            "….by(\"comm\").count();",
            "….by(pid * 1.5).count();",
            "….by(str(args.filename, 4096)).count();",
            "….by(buf(args.filename, 0)).count();",
            "….by(ntop(pid)).count();",
            "….by(str(args.filename, 512), str(args.filename, 500), comm).count();",
            "….sum(pid / 0);",
        ],
    );
}

#[test]
fn arguments_that_a_function_does_not_take() {
    errors(
        "arguments",
        &[
            "….sum();",
            "….count(pid);",
            "….by();",
            "….by(pid, tid, uid, gid, cpu, comm, cgroup, nsecs, probe).count();",
            "….by(\"pid\").count();",
            "….by(7).count();",
            "….filter(7);",
            "….filter(\"x\");",
            "….filter(pid == 1, tid == 1).count();",
            "….hist(pid, 10);",
            "….lhist(pid);",
            "….named(pid);",
            "….top(-1);",
            "….by(comm).count().top(0);",
            "….entries(-1).count();",
            "….run(10);",
            "….each();",
            "….printf(\"%s\\n\");",
            "….count;",
            "….comm;",
            "probe(7);",
            "probe([]);",
            "template(\"runqlat\", \"x\");",
            "run(5);",
            "every(1, || print(1));",
            "at_end(1);",
            "exit(1, 2);",
            "param(\"n\");",
            "str(\"x\");",
            "starts_with(comm);",
            "print(1, 2);",
            "print(\"a\" - 1);",
        ],
    );
}

#[test]
fn fields_where_a_value_belongs() {
    errors(
        "values",
        &[
            "print(pid);",
            "print(`process ${args.fd}`);",
            "print(\"process \" + pid);",
            "printf(\"%d\\n\", pid);",
            "throw pid;",
            "every(\"1s\", || { if comm == \"x\" && true { print(1) } });\nif comm == \"x\" { }",
            "let size = \"\";\n….by(size).count();",
            "let size = 1;\n….filter(size == 1).count();",
            "let size = \"x\";\n….hist(size);",
        ],
    );
    // A list shows what is in it.
    planned("let list = [pid, args.fd + 1];\nprint(list);").ok();
}

#[test]
fn habits_of_other_tools_and_languages() {
    errors(
        "habits",
        &[
            "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }",
            "probe(kprobe:vfs_read).count();",
            "kprobe(\"vfs_read\").count();",
            "BEGIN { printf(\"hello\\n\"); }",
            "… { @[comm] = count(); }",
            "….filter(/pid == 1/).count();",
            "….where(pid == 1).count();",
            "….group_by(comm, pid).count();",
            "….histogram(args.flags);",
            "….filter(pid = 1).count();",
            "….filter(comm =~ \"ba.*\").count();",
            "….filter(not pid == 1).count();",
            "….filter(comm.contains(\"x\")).count();",
            "….filter(comm == 'bash').count();",
            "….each(e => print(e.pid));",
            "….each(fn(e) { print(e.pid) });",
            "….each(print);",
            "let mut x = 1;",
            "let x: i64 = 1;",
            "x = 1;",
            "let i = 0;\ni++;",
            "let x = true ? 1 : 2;",
            "let x = None;",
            "print(True);",
            "print(f\"{x}\");",
            "println(\"x\");",
            "echo \"x\"",
            "sleep(1);",
            "for (let i = 0; i < 3; i++) {}",
            "for i in 0..3 print(i);",
            "# a comment",
            "template(\"runqlat\", { process: 1 }).count();",
            "eval(\"1 + 1\");",
            "let match = 1;",
            "let x = null;",
        ],
    );
}

#[test]
fn membership_is_a_condition_of_the_kernel() {
    let filter = |script: &str| {
        let plan = planned(&script.replace('…', OPENS)).ok();
        plan.out.lines().find_map(|line| line.trim().strip_prefix("kernel  filter ")).unwrap_or_default().to_owned()
    };
    assert!(filter("….filter(pid in [7, 11]).count()").starts_with("pid == 7 or pid == 11 "));
    assert!(
        filter("….filter(not(comm in [\"a\", \"b\"])).count()").starts_with("not(comm == \"a\" or comm == \"b\") ")
    );
    assert!(filter("….filter(cpu in 2..4).count()").starts_with("cpu >= 2 and cpu < 4 "));
    assert!(filter("….filter(cpu in 2..=4).count()").starts_with("cpu >= 2 and cpu <= 4 "));
}

#[test]
fn spans_that_do_not_fit() {
    const SPAN: &str = r#"span("t:syscalls:sys_enter_openat", "t:syscalls:sys_exit_openat")"#;
    let cases = [
        r#"span("t:syscalls:sys_enter_openat").count();"#,
        r#"span("t:syscalls:sys_enter_openat", 7).count();"#,
        r#"span([], "t:syscalls:sys_exit_openat").count();"#,
        r#"span("t:syscalls:sys_enter_openat", "t:syscalls:sys_exit_openta").count();"#,
        r#"span("profile:hz:99", "banana").count();"#,
        "….hist(elapsed);",
        "…\n    .by(start.comm)\n    .count();",
        "….on(pid, pid).count();",
        "….spans(10).count();",
        r#"template("runqlat").by(start.comm).hist(elapsed);"#,
        "SPAN.by(start).count();",
        "SPAN.by(start.banana).count();",
        "SPAN.by(start.args.filenam).count();",
        "SPAN.sum(start.retval);",
        "SPAN.by(str(args.filename)).count();",
        "SPAN.by(args.dfd).count();",
        "SPAN.hist(elasped);",
        "SPAN.spans(0).count();",
        "SPAN.on(pid).count();",
        "SPAN.on([pid, tid], pid).count();",
        "SPAN.on([], []).count();",
        "SPAN.on(\"x\", \"x\").count();",
        "SPAN.on(str(args.filename), args.ret).count();",
        "SPAN.on(args.ret, args.ret).count();",
        "SPAN.on(str(args.filename, 200), comm).count();",
        "SPAN.by(str(start.args.filename, 512), str(start.args.filename, 511)).count();",
    ];
    let cases = cases.map(|case| case.replace("SPAN", SPAN));
    errors("spans", &cases.each_ref().map(String::as_str));
}

#[test]
fn chains_that_do_not_fit() {
    errors(
        "chains",
        &[
            "….count().sum(pid);",
            "….fields(comm).count();",
            "….by(comm).fields(pid);",
            "….by(comm).each(|e| print(e));",
            "….count().each(|e| print(e));",
            "….lhist(pid, 100, 0, 10);",
            "….lhist(pid, 0, 100, 0);",
            "….lhist(pid, 0, 1000000000, 1);",
            "….by(pid).entries(0).count();",
            "….count().run(\"10 parsecs\");",
            "….printf(\"%s %d\\n\", comm);",
            "….printf(\"%y\\n\", comm);",
            "every(\"1ms\", || print(1));",
            "every(\"soon\", || print(1));",
            "run(\"later\");",
            "let t = ….by(comm).count().run(\"1s\");\nt.sort_by(\"com\");",
        ],
    );
}

#[test]
fn templates_that_are_not_there() {
    errors(
        "templates",
        &[
            r#"template("biolatencyy").count();"#,
            r#"template("banana").count();"#,
            r#"template("uprobe").count();"#,
            r#"template("runqlat", #{ banana: 1 }).count();"#,
            r#"template("runqlat", #{ proces: 1 }).count();"#,
            r#"template("runqlat", #{ process: -1 }).count();"#,
            r#"template("runqlat", #{ process: "bash" }).count();"#,
            r#"template("biolatency", #{ disk: "nosuchdisk" }).count();"#,
            r#"template("biolatency").hist(elapsd);"#,
        ],
    );
}

#[test]
fn scripts_that_do_not_parse() {
    errors(
        "syntax",
        &[
            r#"probe("tracepoint:syscalls:sys_enter_openat".count();"#,
            "let a = 1\nlet b = 2;",
            "print(\"hello);",
            "if true {\n  print(\"x\");",
            "print(1 === 2);",
            "print(1);\n/* forgotten",
            "….by(args.new).count();",
        ],
    );
}

#[test]
fn scripts_that_fail_here() {
    errors(
        "here",
        &[
            "print(7 / 0);",
            "print(9223372036854775807 + 1);",
            "let a = [1];\nprint(a[7]);",
            "let m = #{ a: 1 };\nprint(m.b);",
            "throw \"my own words\";",
            "fn f(n) { f(n + 1) }\nf(0);",
            "let s = \"x\";\nloop { s += s; }",
            "let a = [0];\nloop { a += a; }",
            "param(\"n\", #{ help: \"x\" });",
            "param(\"n\", #{ value: 1, hepl: \"x\" });",
        ],
    );
}

#[test]
fn endless_loop_ends_after_ten_seconds() {
    errors("endless_loop", &["let a = 1;\nloop { a = -a; }"]);
}

/// A filter of so many conditions.
fn large(conditions: usize) -> String {
    format!(
        "let any = pid == 0;\nfor n in 0..{conditions} {{ any = any or (args.filename == n and args.flags != n); }}\n{OPENS}.filter(any).count();"
    )
}

#[test]
fn too_large_expression_is_an_error_at_its_chain() {
    let output = planned(&large(1000)).status_is(1);
    golden("diagnostics/too_large_expression", &output.err);
}

#[test]
fn far_too_large_expression_is_an_error_too() {
    let output = planned(&large(20_000)).status_is(1);
    assert!(output.err.starts_with("error: an expression is too large") && output.err.len() < 2000, "{output}");
}

#[test]
fn nested_comparisons_are_planned_in_no_time() {
    let script = format!(
        "let same = args.flags > 0;\nfor n in 0..40 {{ same = same == (args.mode > n); }}\n{OPENS}.filter(same).count();"
    );
    planned(&script).ok();
}

#[test]
fn large_expression_that_fits_is_right() {
    privileged!();
    let script = r#"
        let any = args.offset == -1;
        for n in 1..60 { any = any or args.offset == n * 17; }
        probe("tracepoint:syscalls:sys_enter_lseek").filter(any).by(args.offset).count();
    "#;
    let output = Skep::on("lseek 7 17 lseek 11 1003 lseek 13 18 lseek 5 1020", script).run().ok();
    assert_eq!(output.rows(), [("1003".to_owned(), 11.into()), ("17".to_owned(), 7.into())]);
}

#[test]
fn run_inside_a_run_is_an_error_at_the_inner_one() {
    privileged!();
    let script = "let calls = probe(\"tracepoint:syscalls:sys_enter_getpgid\").count();\n\
                  every(\"50ms\", || calls.run(\"1s\"));\nrun(\"30s\");";
    let output = Skep::new(&["-q", "-e", script]).run().status_is(1);
    golden("diagnostics/run_inside_a_run", &output.err);
}

#[test]
fn values_of_runs_that_are_used_wrongly() {
    privileged!();
    let chain = "probe(\"t:syscalls:sys_enter_getpgid\")";
    let mut text = String::new();
    for script in [
        "….each(|e, f| print(e));",
        "….each(|e| println!(\"{}\", e.pid));",
        "….each(|e| print(pid));",
        "….each(|e| e.pid = 7);",
        "….fields(comm).each(|e| print(e.pid));",
        "….each(|e| if e.pid { print(1) });",
        "….each(|e| print(e.comm - 1));",
        "let table = ….by(comm).hist(args.pid).run();\nprint(table.p99() > 1);",
        "let table = ….by(comm).count().run();\nprint(table > 1);",
        "let hist = ….hist(args.pid).run();\nprint(hist > 1);",
        "let hist = ….hist(args.pid).run();\nprint(hist.p99);",
        "let chain = ….count();\nat_end(|| print(chain > 1));",
        "let n = 1;\nfn f(x) { x + n }\nf(1);",
    ] {
        let script = script.replace('…', chain);
        let output = Skep::new(&["-q", "-c", &workload::line("getpgid 3"), "-e", &script]).run().status_is(1);
        text += &format!("{}\n", output.err);
    }
    golden("diagnostics/results", &text);
}

#[test]
fn rows_print_their_key_and_value() {
    privileged!();
    let script = "for row in probe(\"t:syscalls:sys_enter_getpgid\").by(comm, args.pid).count().run() { print(row); }";
    let output = Skep::new(&["-q", "-c", &workload::line("getpgid 23"), "-e", script]).run().ok();
    assert_eq!(output.out, format!("comm={} pid=0 23\n", workload::NAME));
}

#[test]
fn misspelt_columns_of_results_name_the_nearest() {
    privileged!();
    let script = "let calls = probe(\"tracepoint:syscalls:sys_enter_getpgid\").by(comm).count().run();\n\
                  for row in calls { print(row.com); }";
    let output = Skep::new(&["-q", "-c", &workload::line("getpgid 23"), "-e", script]).run().status_is(1);
    golden("diagnostics/misspelt_column", &output.err);
}

#[test]
fn errors_in_files_name_the_file_and_errors_in_modules_the_module() {
    let folder = skep_tests::machine::Folder::new();
    let file = folder.file("opens.rhai", "// two lines\nprobe(\"tracepoint:sched:sched_switch\").by(com).count();\n");
    let output = Skep::new(&["plan", &file]).run().status_is(1);
    assert!(output.err.contains(&format!(" --> {file}:2:43\n")), "{output}");
    let machine = here("fixtures/machine").display().to_string();
    folder.file("broken.rhai", "fn f() {\n  1 +\n}\n");
    folder.file("lines.rhai", "let a = 1;\nprint(a);\nprint(com);\n");
    folder.file("functions.rhai", "fn mine(p) {\n  p.filter(true)\n}\nfn all(p) {\n  p.banana()\n}\nfn opens() {\n  probe(\"t:sched:sched_swicth\").count()\n}\nfn flagged(p) {\n  p.filter(args.nothing == 1)\n}\n");
    let folders = folder.0.display().to_string();
    let mut text = String::new();
    for script in [
        "print(1);\nimport \"broken\" as b;",
        "import \"lines\" as l;",
        "import \"functions\" as f;\nprint(f::mine(probe(\"profile:hz:99\")));",
        "import \"functions\" as f;\nf::opens();",
        "import \"functions\" as f;\nf::flagged(probe(\"t:sched:sched_switch\")).count();",
        "import \"functions\" as f;\n\n\n\n\nf::all(probe(\"profile:hz:99\"));",
    ] {
        let output = Skep::new(&["plan", "--machine", &machine, "-e", script])
            .environment("SKEP_PATH", &folders)
            .run()
            .status_is(1);
        text += &format!("{}\n", output.err);
    }
    golden("diagnostics/imports", &text);
}
