//! Attach points, functions of the kernel and templates that cannot be had.

use super::errors;

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
