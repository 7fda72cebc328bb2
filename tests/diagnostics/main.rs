//! Diagnostics: every error that a script can meet, as its author sees it. Scripts are planned for the captured machine,
//! so that no privilege is needed and no message depends on this one. One golden for each part of the language.

mod chains;
mod expressions;
mod files;
mod language;
mod results;
mod runbooks;
mod sources;

use skep_tests::machine::here;
use skep_tests::{Output, Skep, golden};

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
