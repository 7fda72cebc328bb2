//! Probes that a program's author put there, on every kernel: their arguments, their sites, their semaphores.
//!
//! The program is workloads/usdt.c, which `cargo xtask vm --matrix` compiles for its guests.

use serde_json::json;
use skep_tests::{Output, Skep, guest};

const PROGRAM: &str = "/bin/usdt";

/// A script on 101 turns of the program.
#[track_caller]
fn on_101_turns(text: &str) -> Output {
    Skep::script(&text.replace("BIN", PROGRAM)).arguments(&["-c", &format!("{PROGRAM} 101")]).run().ok()
}

#[test]
fn usdt_arguments_are_read_wherever_they_lie() {
    guest!();
    let output = on_101_turns(
        r#"
        probe("usdt:BIN:skep:numbers").filter(arg0 == -arg2 and arg3 == -5).sum(arg0);
        probe("usdt:BIN:memory").filter(arg0 == arg2).sum(arg1);
        probe("usdt:BIN:variable").max(arg0);
        probe("usdt:BIN:text").filter(str(arg0) == "odd").count();
    "#,
    );
    let values = [0, 1, 2, 3].map(|n| output.table(n)["rows"][0]["value"].clone());
    assert_eq!(values, [-101 * 51, 2 * 101 * 51, 1101, 51].map(|value| json!(value)), "{output}");
}

#[test]
fn usdt_sites_are_read_each_in_its_way() {
    guest!();
    let output = on_101_turns(r#"probe("usdt:BIN:sites").by(probe).sum(arg0)"#);
    assert_eq!(output.rows(), [(format!("usdt:{PROGRAM}:skep:sites"), json!(101 * 102 + 7 * 101))], "{output}");
}

#[test]
fn usdt_semaphores_are_up_while_somebody_watches() {
    guest!();
    // What is probed is the semaphore itself: it counts those who watch.
    let output = on_101_turns(
        r#"
        probe("usdt:BIN:watched").by(arg0).count();
        probe("usdt:BIN:twice").by(arg0).count();
    "#,
    );
    let row = |n: usize| output.table(n)["rows"].clone();
    assert_eq!(row(0), json!([{ "key": { "arg0": 1 }, "value": 101 }]), "{output}");
    assert_eq!(row(1), json!([{ "key": { "arg0": 2 }, "value": 202 }]), "{output}");
}
