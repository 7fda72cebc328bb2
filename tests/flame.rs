//! Flame graphs against what programs know about themselves: workloads/flame.* time their own functions.

use skep_tests::folded::{Accounts, Folded};
use skep_tests::machine::{Folder, here, must_run, program};
use skep_tests::{Output, Skep, privileged, workload};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const PARTS: [&str; 3] = ["heavy", "medium", "light"];
/// About 3,000 samples: 3 points are three times what chance does to a share of a half.
const WORK: &str = "work 3";
const POINTS: f64 = 3.0;

/// workloads/flame.c, with frame pointers, and without symbols.
static PROGRAM: LazyLock<[String; 2]> = LazyLock::new(|| {
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    [("flame", "-g"), ("flame-stripped", "-s")].map(|(name, option)| {
        let program = built(name);
        let mut compile = Command::new(&cc);
        compile.args(["-O1", option, "-Wall", "-Werror", "-fno-omit-frame-pointer", "-o", &program]);
        run(compile.arg(here("workloads/flame.c")));
        program
    })
});

fn built(name: &str) -> String {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).display().to_string()
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// `workloads/flame.c` as it is told.
fn flame(words: &str) -> String {
    format!("{} {words}", PROGRAM[0])
}

/// A graph of a command: what it says, and the folded stacks.
#[track_caller]
fn graph(command: &str, options: &[&str]) -> (Output, Folded) {
    let folder = Folder::new();
    let path = folder.0.join("a.folded").display().to_string();
    let output = Skep::new(&["flame", "-c", command, "-o", &path]).arguments(options).run().ok();
    let folded = Folded::read(&path);
    (output, folded)
}

/// CPU time of a command that accounts for its functions, which have these frames.
#[track_caller]
fn shares(command: &str, parts: &[&str], frame: impl Fn(&str, &str) -> bool) -> Folded {
    let (output, folded) = graph(command, &["--hz", "997"]);
    Accounts::of(&output).assert_shares(&folded, parts, POINTS, frame);
    folded
}

#[test]
fn functions_of_c_have_the_share_that_they_measured() {
    privileged!();
    let folded = shares(&flame(WORK), &PARTS, |part, frame| part == frame);
    for part in PARTS {
        // Not in the first and last instructions, where the frame pointer is not yet, or no longer, the function's own.
        let (whole, all) = (folded.path(&["flame", "main", part]), folded.of(|frame| frame == part));
        assert!(whole * 100 >= all * 99, "{whole} of {all} samples of {part} are in `main`\n{folded:#?}");
    }
}

#[test]
fn functions_of_rust_have_the_share_that_they_measured_and_show_what_is_inlined() {
    privileged!();
    let program = built("flame-rust");
    let mut compile = Command::new("rustc");
    compile.args(["--crate-name", "flame", "--edition", "2024", "-g", "-O", "-C", "force-frame-pointers=yes", "-o"]);
    run(compile.arg(&program).arg(here("workloads/flame.rs")));
    let folded = shares(&format!("{program} 3"), &PARTS, |part, frame| frame == format!("flame::{part}"));
    assert_eq!(folded.of(|frame| frame.contains("mix")), 0);

    let (_, folded) = graph(&format!("{program} 1"), &["--hz", "997", "--inlines"]);
    let (inner, outer) = (folded.path(&["flame::heavy", "flame::mix_[i]"]), folded.path(&["flame::heavy"]));
    assert!(inner > 0 && inner <= outer, "{inner} of {outer} samples are in what was inlined\n{folded:#?}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn code_made_at_run_time_has_the_name_and_the_share_that_its_maker_says() {
    privileged!();
    let parts = ["LazyCompile:*hot app.js:3", "LazyCompile:~cold app.js:9"];
    shares(&flame("jit 3"), &parts, |part, frame| frame.strip_suffix("_[j]") == Some(part));
}

#[test]
fn functions_of_node_have_the_share_that_they_measured() {
    privileged!();
    if program("node").is_none() {
        return;
    }
    let script = here("workloads/flame.js");
    // V8 would leave a log where it runs.
    let options = "--perf-basic-prof --interpreted-frames-native-stack --no-logfile-per-isolate --logfile=/dev/null";
    let command = format!("node {options} {} 3", script.display());
    // JS:*heavy /…/flame.js:3:15 once it is compiled, JS:~heavy … before.
    let named = |part: &str, frame: &str| {
        let name = frame.trim_start_matches(|c: char| c != '*' && c != '~' && c != '^').get(1..).unwrap_or_default();
        frame.ends_with("_[j]") && name.split(' ').next() == Some(part)
    };
    shares(&command, &PARTS, named);
}

/// An interpreter's own functions have names without its help; those of its scripts need CPython 3.12 and, in its C code,
/// frame pointers. `SKEP_PYTHON` names such an interpreter.
#[test]
fn functions_of_python_have_the_share_that_they_measured() {
    privileged!();
    let script = here("workloads/flame.py").display().to_string();
    match std::env::var("SKEP_PYTHON") {
        Ok(python) => {
            let named = |part: &str, frame: &str| frame.starts_with(&format!("py::{part}:")) && frame.ends_with("_[j]");
            shares(&format!("{python} -X perf {script} 3"), &PARTS, named);
        }
        Err(_) => println!("functions of scripts: not asked for, SKEP_PYTHON names no Python 3.12 with frame pointers"),
    }
    let (_, folded) = graph(&format!("/usr/bin/python3 {script} 1"), &["--hz", "997"]);
    let evaluating = folded.of(|frame| frame == "_PyEval_EvalFrameDefault");
    assert!(evaluating * 5 >= folded.total(), "{evaluating} samples are in the interpreter's loop\n{folded:#?}");
}

#[test]
fn waits_last_as_long_as_the_program_measured() {
    privileged!();
    let (output, folded) = graph(&flame("sleep 23"), &["--off-cpu"]);
    let accounts = Accounts::of(&output);
    for part in ["nap", "doze"] {
        let (measured, drawn) = (accounts.get(part), folded.path(&["flame", "main", part]));
        // What it measured has the time too that it waited for a processor when it was woken: on a busy machine that is more.
        assert!(drawn <= measured, "{part}: measured {measured}, drawn {drawn}");
    }
    // What was asked for; a virtual processor that is taken away between the call and the wait shortens the wait.
    let asked = |milliseconds: u64| 23 * milliseconds * 1_000_000 / 20 * 19;
    assert!(folded.path(&["nap"]) >= asked(29) && folded.path(&["doze"]) >= asked(11));
}

#[test]
fn bytes_of_malloc_are_exact() {
    privileged!();
    let (output, folded) = graph(&flame("allocate 101"), &["--alloc"]);
    for part in ["hoard", "trickle"] {
        assert_eq!(folded.path(&["main", part, "malloc"]), Accounts::of(&output).get(part), "{part}\n{folded:#?}");
    }
}

#[test]
fn hits_of_an_attach_point_are_exact() {
    privileged!();
    let (_, folded) = graph(&workload::line("getpgid 101"), &["--probe", "tracepoint:syscalls:sys_enter_getpgid"]);
    assert_eq!(folded.total(), 101);
}

#[test]
fn formats_of_one_run_have_the_same_total() {
    privileged!();
    let folder = Folder::new();
    let file = |name: &str| folder.0.join(name).display().to_string();
    let [folded, pprof, svg, json] = ["a.folded", "a.pb.gz", "a.svg", "a.json"].map(file);
    let outputs = ["-o", &folded, "-o", &pprof, "-o", &svg, "-o", &json];
    let command = flame("work 0.5");
    Skep::new(&["flame", "--hz", "997", "-c", &command]).arguments(&outputs).run().ok();
    let total = Folded::read(&folded).total();
    assert!(total > 400, "{total} samples of half a second at 997 Hz");

    // Read back by ourselves.
    let again = file("again.folded");
    Skep::new(&["flame", "render", &pprof, "-o", &again]).run().ok();
    assert_eq!(Folded::read(&again).total(), total);
    let text = std::fs::read_to_string(&json).expect("it was written");
    let json: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let weights = json["profiles"][0]["weights"].as_array().expect("speedscope's samples have weights");
    assert_eq!(weights.iter().filter_map(serde_json::Value::as_u64).sum::<u64>(), total);
    // The widest rectangle is all of them.
    let svg = std::fs::read_to_string(&svg).expect("it was written");
    let root = format!("({} samples, 100", grouped(total));
    assert!(svg.contains(&root), "no `{root}` in the graph");

    // And by Google's protobuf.
    let python = Path::new("/usr/bin/python3");
    let has_protobuf = Command::new(python).args(["-c", "import google.protobuf"]).stderr(Stdio::null()).status();
    if program("protoc").is_none() || !has_protobuf.is_ok_and(|status| status.success()) {
        assert!(!must_run(), "needs protobuf-compiler and python3-protobuf");
        println!("skipped in part: needs protobuf-compiler and python3-protobuf");
        return;
    }
    let fixtures = here("../flamegraphs/tests/fixtures");
    run(Command::new("protoc").arg("-I").arg(&fixtures).arg("--python_out").arg(&folder.0).arg("profile.proto"));
    let decoded = run(Command::new(python).arg(fixtures.join("decode.py")).arg(&pprof).env("PYTHONPATH", &folder.0));
    let totals = decoded.lines().last().and_then(|line| line.strip_prefix("totals ")).unwrap_or_default();
    assert_eq!(totals.split(' ').next(), Some(total.to_string().as_str()), "{decoded}");
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[test]
fn program_without_symbols_has_places_for_names() {
    privileged!();
    let (output, folded) = graph(&format!("{} work 1", PROGRAM[1]), &["--hz", "997"]);
    let placed = folded.of(|frame| frame.starts_with("flame-stripped+0x"));
    assert!(placed * 10 >= folded.total() * 9, "{placed} of {} samples\n{folded:#?}", folded.total());
    assert_eq!(folded.of(|frame| PARTS.contains(&frame)), 0);
    assert!(output.err.contains("frames without a name"), "{output}");
}

#[test]
fn process_that_ends_during_the_run_keeps_its_names() {
    privileged!();
    let mut process = Command::new(&PROGRAM[0]).args(["work", "1"]).stdout(Stdio::null()).spawn().expect("it starts");
    let folder = Folder::new();
    let path = folder.0.join("a.folded").display().to_string();
    let pid = process.id().to_string();
    let running = Skep::new(&["flame", "-p", &pid, "--hz", "997", "--for", "3s", "-o", &path]).start().attached();
    process.wait().expect("it is our child");
    running.end().ok();
    let folded = Folded::read(&path);
    let known = folded.of(|frame| PARTS.contains(&frame));
    assert!(known > 0 && known * 10 >= folded.total() * 9, "{known} of {} samples\n{folded:#?}", folded.total());
}

#[test]
fn process_that_is_not_there_is_an_error() {
    let output = Skep::new(&["flame", "-p", "4194304"]).run().status_is(1);
    assert!(output.err.starts_with("error: there is no process 4194304\n  = help: "), "{output}");
}

#[test]
fn profile_without_samples_is_a_graph_that_says_so() {
    privileged!();
    let folder = Folder::new();
    let path = folder.0.join("a.svg").display().to_string();
    // A command of a millisecond, looked at once a second: almost always without a sample.
    let empty = (0..5).any(|_| {
        Skep::new(&["flame", "-c", "true", "--hz", "1", "-o", &path]).run().ok();
        let svg = std::fs::read_to_string(&path).expect("it was written");
        assert!(svg.starts_with("<?xml ") && svg.trim_end().ends_with("</svg>"), "{svg}");
        svg.contains(">no samples<")
    });
    assert!(empty, "five runs, and a sample in each");
}

#[test]
fn file_that_cannot_be_written_is_an_error_before_anything_runs() {
    privileged!();
    let folder = Folder::new();
    let witness = folder.0.join("witness");
    let command = format!("touch {}", witness.display());
    for path in ["/nonexistent/a.svg", "/proc/a.svg"] {
        let since = Instant::now();
        let output = Skep::new(&["flame", "-c", &command, "-o", path]).run().status_is(1);
        assert!(output.err.starts_with(&format!("error: failed to write `{path}`: ")), "{output}");
        assert!(since.elapsed() < Duration::from_secs(5) && !witness.exists(), "{output}");
    }
    let output = Skep::new(&["flame", "-c", &command, "-o", "a.png"]).run().status_is(1);
    assert!(output.err.contains("a.png") && !witness.exists(), "{output}");
}

#[test]
fn lines_that_hold_no_stack_are_counted_and_left_out() {
    let folder = Folder::new();
    let bad = folder.file("bad.folded", "a;b 3\nrubbish\n;;; x\n\u{fffd};b 4\n");
    let good = folder.0.join("good.folded").display().to_string();
    let output = Skep::new(&["flame", "render", &bad, "-o", &good]).run().ok();
    assert!(output.err.contains("2 lines hold no stack (line 2, 3): left out"), "{output}");
    assert_eq!(Folded::read(&good).total(), 7);
}
