//! Findings, called scripts, what the machine counts.

use super::errors;

#[test]
fn runbooks_say_what_is_wrong_with_them() {
    errors(
        "runbooks",
        &[
            r#"finding("warning", "too late");"#,
            r#"finding("wran", "too late");"#,
            r#"finding("warn", "too late", pid);"#,
            r#"script("runqlta");"#,
            r#"script("/etc/passwd");"#,
            r#"script("runqlat", #{ proces: 12 });"#,
            r#"let waits = script("runqlat"); waits.value("usec");"#,
            r#"script("slow-node").value("usecs");"#,
            r#"pressure("disk");"#,
            r#"net_counts().Tcp.RetransSeg;"#,
        ],
    );
}
