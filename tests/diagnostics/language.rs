//! The language itself: syntax, habits of other languages, scripts that fail while they are planned.

use super::errors;

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
