//! Chains whose parts do not fit together, spans among them.

use super::errors;

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
