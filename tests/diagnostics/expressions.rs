//! Expressions of the kernel: names, operators, arguments, size.

use super::{OPENS, errors, planned};
use skep_tests::{Skep, golden, privileged};

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
fn expression_that_doubles_itself_is_an_error_in_no_time() {
    for step in ["x = x + x", "x = first_of([x, x])", "x = -x", "p.filter(x == i)"] {
        let script =
            format!("let p = {OPENS}; let x = pid; for i in 0..100_000 {{ {step}; }} p.filter(x == 1).count();");
        let output = planned(&script).status_is(1);
        assert!(
            output.err.starts_with("error: an expression is too large: it ") && output.err.len() < 2000,
            "{output}"
        );
    }
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
