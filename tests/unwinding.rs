//! Stacks of programs whose call chain is known, followed by frame pointers and by their unwind information.

use serde_json::Value;
use skep_tests::{Output, Skep, c, privileged};

/// Nearly all of its time is spent in `hot`, called through all the others.
const CHAIN: &str = r#"
#include <time.h>
volatile unsigned long sink;
#define STEP __attribute__((noinline)) void
STEP hot(unsigned long n) { for (unsigned long i = 0; i < n; i++) sink += i * i; }
STEP six(unsigned long n) { hot(n); sink++; }
STEP five(unsigned long n) { six(n); sink++; }
STEP four(unsigned long n) { five(n); sink++; }
STEP three(unsigned long n) { four(n); sink++; }
STEP two(unsigned long n) { three(n); sink++; }
STEP one(unsigned long n) { two(n); sink++; }
int main(void) { while (clock() < 1500000) one(1000000); }
"#;
/// Innermost first.
const FUNCTIONS: [&str; 8] = ["hot", "six", "five", "four", "three", "two", "one", "main"];

/// Deeper than any copy.
const DEEP: &str = r#"
#include <time.h>
volatile unsigned long sink;
__attribute__((noinline)) unsigned long down(unsigned long n) {
    volatile char room[200];
    room[n % 200] = n;
    if (n == 0) { for (int i = 0; i < 1000000; i++) sink += i; return 1; }
    return down(n - 1) + room[n % 200];
}
int main(void) { while (clock() < 500000) sink += down(1000); }
"#;

/// Its time is spent in a signal's handler, which interrupts `work`.
const SIGNAL: &str = r#"
#include <signal.h>
#include <time.h>
#include <unistd.h>
volatile unsigned long sink;
void handler(int signal) { for (unsigned i = 0; i < 50000000; i++) sink += signal; }
__attribute__((noinline)) void work(void) { __asm__ volatile("1: cmpq $0, %0; je 1b" :: "m"(sink)); sink = 0; }
int main(void) { signal(SIGALRM, handler); while (clock() < 500000) { ualarm(10000, 0); work(); } }
"#;

const BARE: &[&str] = &["-O2", "-fomit-frame-pointer"];

fn program(name: &str, source: &str, flags: &[&str]) -> String {
    c::program(env!("CARGO_TARGET_TMPDIR"), name, source, flags).display().to_string()
}

/// Its stacks by this way, as JSON.
#[track_caller]
fn sampled(program: &str, way: &str) -> Output {
    let script = "probe(\"profile:hz:499\").filter(tid != 0).by(comm, ustack).count();";
    Skep::script(script).arguments(&["--unwind", way, "-c", program]).run().ok()
}

/// Chains of the program itself, with how often each was met; what `-c` runs before it is no part of it.
fn chains(output: &Output, comm: &str) -> Vec<(Vec<String>, u64)> {
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    let own = rows.iter().filter(|row| row["key"]["comm"] == comm);
    let names = |chain: &Value| {
        let names = chain.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    };
    own.map(|row| (names(&row["key"]["ustack"]), row["value"].as_u64().unwrap_or(0))).collect()
}

/// Per cent of the samples in `hot` whose chain has every function that called it.
#[track_caller]
fn complete(program: &str, comm: &str, way: &str) -> f64 {
    let output = sampled(program, way);
    let hot = chains(&output, comm).into_iter().filter(|(chain, _)| chain.first().is_some_and(|name| name == "hot"));
    let (mut all, mut complete) = (0, 0);
    for (chain, count) in hot {
        all += count;
        complete += if chain.get(..8).is_some_and(|inner| inner == FUNCTIONS) { count } else { 0 };
    }
    assert!(all > 100, "{output}");
    100.0 * complete as f64 / all as f64
}

#[test]
fn chains_without_frame_pointers_are_complete_by_unwind_information() {
    privileged!();
    let builds = [
        ("framed", c::FRAMES),
        ("leafless", &["-O2", "-fno-omit-frame-pointer", "-mno-omit-leaf-frame-pointer"]),
        ("bare", BARE),
    ];
    println!("| built with | fp | dwarf |\n|---|---|---|");
    for (name, flags) in builds {
        let program = program(name, CHAIN, flags);
        let [fp, dwarf] = ["fp", "dwarf"].map(|way| complete(&program, name, way));
        println!("| `{}` | {fp:.1} % | {dwarf:.1} % |", flags.join(" "));
        assert!(dwarf > 98.0, "{name}: {dwarf} %");
        match name {
            "framed" => assert!(fp > 98.0, "{name}: {fp} %"),
            "bare" => assert!(fp < 2.0, "{name}: {fp} %"),
            // What becomes of leaf functions is gcc's choice.
            _ => {}
        }
    }
}

#[test]
fn unwind_information_survives_strip() {
    privileged!();
    let program = program("stripped", CHAIN, BARE);
    let strip = std::process::Command::new("strip").arg(&program).status();
    assert!(strip.is_ok_and(|status| status.success()));
    let output = sampled(&program, "dwarf");
    let rows = chains(&output, "stripped");
    let deep = |chain: &[String]| chain.iter().filter(|name| name.starts_with("stripped+0x")).count() == 9;
    let (all, whole) = rows
        .iter()
        .fold((0, 0), |(all, whole), (chain, count)| (all + count, whole + if deep(chain) { *count } else { 0 }));
    // The functions and `_start`.
    assert!(all > 100 && 100 * whole > 95 * all, "{output}");
}

#[test]
fn stack_that_is_deeper_than_its_copy_says_so() {
    privileged!();
    let output = sampled(&program("deep", DEEP, BARE), "dwarf,4096");
    let rows = chains(&output, "deep");
    let cut = rows.iter().filter(|(chain, _)| chain.last().is_some_and(|name| name == "[truncated stack]"));
    let (longest, many) = cut.fold((0, 0), |(longest, sum), (chain, count)| (longest.max(chain.len()), sum + count));
    assert!(longest > 10 && many > 50, "{output}");
    assert!(output.err.contains(" stacks incomplete"), "{output}");
}

#[test]
fn chains_lead_through_signal_handlers() {
    privileged!();
    let output = sampled(&program("signalled", SIGNAL, BARE), "dwarf");
    let rows = chains(&output, "signalled");
    let known = |chain: &[String]| chain.first().is_some_and(|name| name == "handler");
    let whole = |chain: &[String]| {
        chain.ends_with(&["work", "main"].map(str::to_owned)) || {
            let place = |name: &str| chain.iter().position(|one| one == name);
            place("work").is_some_and(|work| place("main") == Some(work + 1))
        }
    };
    let in_handler: u64 = rows.iter().filter(|(chain, _)| known(chain)).map(|(_, count)| count).sum();
    let complete: u64 = rows.iter().filter(|(chain, _)| known(chain) && whole(chain)).map(|(_, count)| count).sum();
    assert!(in_handler > 50 && 100 * complete > 95 * in_handler, "{output}");
}

#[test]
fn other_sources_and_other_outputs_are_refused_where_they_ask_for_the_stack() {
    for (script, message) in [
        ("probe(\"tracepoint:sched:sched_switch\").by(ustack).count()", "copies stacks of sampled CPU time"),
        ("span(\"p:hz:9\", \"p:hz:9\").by(#{ at: start.ustack }).count()", "copies stacks of sampled CPU time"),
        ("probe(\"profile:hz:99\").fields(ustack(7))", "counts stacks"),
        ("probe(\"profile:hz:99\").by(ustack).sum(cpu)", "counts stacks"),
    ] {
        let output = Skep::new(&["plan", "--unwind", "dwarf", "-e", script]).run();
        assert!(output.status == Some(1) && output.err.contains(message) && output.err.contains("^^^"), "{output}");
    }
    // Who asks for no user stack is not concerned.
    Skep::new(&["plan", "--unwind", "dwarf", "-e", "probe(\"tracepoint:sched:sched_switch\").by(kstack).count()"])
        .run()
        .ok();
}
