//! Call chains: of the kernel and of processes, as columns, keys and what a span's start keeps.
//!
//! The program's system calls are those of x86-64.
#![cfg(target_arch = "x86_64")]

use serde_json::{Value, json};
use skep_tests::{Output, Skep, c, privileged};
use std::sync::LazyLock;

/// System calls of one program: 23 times by `outer`, 7 times by `main` itself. libc's functions have no frames, and who
/// calls one of them would be left out: so without libc.
const SOURCE: &str = r#"
#include <sys/syscall.h>
__attribute__((noinline)) long inner(void) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(SYS_getpgid), "D"(0) : "rcx", "r11", "memory");
    return result;
}
__attribute__((noinline)) long outer(void) { return inner(); }
int main(void) {
    long sum = 0;
    for (int i = 0; i < 23; i++) sum += outer();
    for (int i = 0; i < 7; i++) sum += inner();
    return sum == 1;
}
"#;

static PROGRAM: LazyLock<String> =
    LazyLock::new(|| c::program(env!("CARGO_TARGET_TMPDIR"), "chains", SOURCE, c::FRAMES).display().to_string());

fn on_program(script: &str) -> Output {
    Skep::script(script).arguments(&["-c", &PROGRAM]).run().ok()
}

/// The program's own functions in a chain, the innermost first.
fn own(chain: &Value) -> Vec<&str> {
    let names = chain.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| ["inner", "outer", "main"].contains(name)).collect()
}

#[test]
fn chains_of_a_process_are_counted_by_who_calls() {
    privileged!();
    let output = on_program("probe(\"tracepoint:syscalls:sys_enter_getpgid\").by(ustack).count();");
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    let found: Vec<_> = rows.iter().map(|row| (own(&row["key"]["ustack"]), row["value"].clone())).collect();
    let expected = [(vec!["inner", "outer", "main"], json!(23)), (vec!["inner", "main"], json!(7))];
    assert_eq!(found, expected, "{output}");
}

#[test]
fn chain_is_cut_to_the_functions_asked_for_and_rows_join() {
    privileged!();
    let output = on_program("probe(\"tracepoint:syscalls:sys_enter_getpgid\").by(ustack(1)).count();");
    assert_eq!(output.table(0)["rows"], json!([{ "key": { "ustack": ["inner"] }, "value": 30 }]), "{output}");
}

#[test]
fn kernels_chain_begins_where_the_event_is_and_not_in_the_tracing() {
    privileged!();
    let output = on_program("probe(\"tracepoint:syscalls:sys_enter_getpgid\").by(kstack).count();");
    let row = output.table(0)["rows"][0].clone();
    let chain: Vec<&str> = row["key"]["kstack"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(row["value"], 30, "{output}");
    assert!(chain.contains(&"do_syscall_64"), "{output}");
    assert!(!chain.iter().any(|name| name.starts_with("bpf_") || name.starts_with("__traceiter_")), "{output}");
}

#[test]
fn start_of_a_span_keeps_its_chain() {
    privileged!();
    let script = "span(\"tracepoint:syscalls:sys_enter_getpgid\", \"tracepoint:syscalls:sys_exit_getpgid\")
        .by(#{ at: start.ustack }).count();";
    let output = on_program(script);
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    let found: Vec<_> = rows.iter().map(|row| (own(&row["key"]["at"]), row["value"].clone())).collect();
    assert_eq!(found, [(vec!["inner", "outer", "main"], json!(23)), (vec!["inner", "main"], json!(7))], "{output}");
}

#[test]
fn events_carry_chains_as_lists() {
    privileged!();
    let script = "let main = 0; let outer = 0;
        probe(\"tracepoint:syscalls:sys_enter_getpgid\").fields(ustack).each(|e| {
            if \"main\" in e.ustack { main += 1; }
            if \"outer\" in e.ustack { outer += 1; }
        }).run();
        print(`${main} ${outer}`);";
    let output = Skep::new(&["-e", script, "-c", &PROGRAM]).run().ok();
    assert_eq!(output.out, "30 23\n", "{output}");
}

#[test]
fn chains_without_room_are_counted() {
    privileged!();
    let script = "probe(\"tracepoint:syscalls:sys_enter_getpgid\").by(ustack).count();";
    let output = Skep::script(script).arguments(&["--stacks", "1", "-c", &PROGRAM]).run();
    // Two tables of one place each: both chains find one.
    assert!(output.err.contains("30 counted, 0 lost") && !output.err.contains("not kept"), "{output}");
    let script = "probe(\"tracepoint:syscalls:sys_enter_getpgid\").by(ustack, kstack).count();";
    let output = Skep::script(script).arguments(&["--stacks", "1", "--strict", "-c", &PROGRAM]).run();
    assert!(output.err.contains("7 stacks not kept"), "{output}");
    assert_eq!(output.status, Some(3), "{output}");
}

#[test]
fn chain_is_no_number_and_no_condition() {
    for (script, message) in [
        ("probe(\"profile:hz:99\").hist(kstack)", "`kstack` is a call chain, no number"),
        ("probe(\"profile:hz:99\").filter(ustack == 1).count()", "`ustack` is a call chain, no number"),
        ("probe(\"profile:hz:99\").by(kstack(0)).count()", "`kstack(0)` needs a number of functions, from 1 to 127"),
        ("probe(\"iter:task\").fields(kstack)", "`iter:task` has no `kstack`: it looks at what does not run"),
    ] {
        let output = Skep::new(&["plan", "-e", script]).run();
        assert!(output.status == Some(1) && output.err.contains(message) && output.err.contains("^^^"), "{output}");
    }
}

#[test]
fn function_that_has_just_begun_has_its_caller() {
    privileged!();
    let source = "#include <stdlib.h>
        static void *small(void) { return malloc(24); }
        static void *large(void) { return malloc(4096); }
        int main(void) { for (int i = 0; i < 101; i++) { free(small()); free(large()); } }";
    let program = c::program(env!("CARGO_TARGET_TMPDIR"), "allocates", source, c::FRAMES).display().to_string();
    let script = "probe(\"uprobe:libc:malloc\").filter(arg0 == 24 or arg0 == 4096).by(ustack(3)).sum(arg0);";
    let output = Skep::script(script).arguments(&["-c", &program]).run().ok();
    let expected = json!([
        { "key": { "ustack": ["malloc", "large", "main"] }, "value": 101 * 4096 },
        { "key": { "ustack": ["malloc", "small", "main"] }, "value": 101 * 24 },
    ]);
    assert_eq!(output.table(0)["rows"], expected, "{output}");
    let script =
        format!("span(\"uprobe:{program}:small\", \"uretprobe:{program}:small\").by(#{{ at: start.ustack }}).count();");
    let output = Skep::script(&script).arguments(&["-c", &program]).run().ok();
    let row = output.table(0)["rows"][0].clone();
    assert_eq!(row["key"]["at"].as_array().map(|chain| chain[..2].to_vec()), Some(vec![json!("small"), json!("main")]));
    assert_eq!(row["value"], 101, "{output}");
}
