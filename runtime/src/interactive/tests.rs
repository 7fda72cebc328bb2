//! Sessions without a terminal and without privilege: what lines mean, what completes, what commands are documented.

use super::Interactive;
use super::commands::{COMMANDS, markdown};
use super::complete::{Sources, complete};
use super::console::{Console, quiet_panics};
use super::knowledge::{Known, Nature};
use super::screen::Screen;
use super::screen::tests::Paper;
use crate::diagnostic::Kind;
use crate::library::Library;
use crate::machine::Machine;
use crate::report::text::Style;
use crate::script::engine::Runner;
use crate::script::host::{Host, Mode, Settings};
use crate::script::output::{Format, Output};
use crate::script::params::Params;
use skep_templates::catalog::Catalog;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn console() -> (Console, Paper) {
    let settings = Settings::bare(Mode::Interactive);
    let paper = Paper::default();
    let screen = Screen::new(Box::new(paper.clone()));
    let output = Output::on_screen(&screen, Format::Text, Style::default());
    let host = Host::new(settings, Params::default(), output, None);
    let runner = Runner::new(host, Library::default()).unwrap();
    let (_, requests) = tokio::sync::mpsc::unbounded_channel();
    let interactive = Interactive::new(screen, requests).unwrap();
    assert!(runner.host.interactive.set(interactive).is_ok());
    (Console::new(runner, Library::default(), Arc::new(Mutex::new(Known::default()))), paper)
}

fn shown(console: &Console, paper: &Paper) -> String {
    console.host().output.borrow_mut().flush();
    paper.0.take()
}

#[test]
fn panic_ends_the_line_and_not_the_session() {
    let (mut console, paper) = console();
    console.runner.engine.register_fn("boom", || -> i64 { panic!("a mistake of ours") });
    quiet_panics();
    let (kind, text) = console.line("boom()").unwrap_err();
    assert_eq!(kind, Kind::Bug);
    assert!(text.starts_with("bug: ") && text.contains("a mistake of ours"), "{text}");
    shown(&console, &paper);
    assert!(console.line("1 + 1").is_ok());
    assert_eq!(shown(&console, &paper), "2\n");
}

#[test]
fn imports_last_and_are_run_once() {
    let (mut console, paper) = console();
    assert!(console.line("import \"nothing here\" as n").is_err());
    assert!(console.line("const LIMIT = 3").is_ok());
    shown(&console, &paper);
    assert!(console.line("LIMIT").is_ok());
    assert_eq!(shown(&console, &paper), "3\n");
}

#[test]
fn chain_without_an_aggregation_says_what_is_missing() {
    let (mut console, paper) = console();
    assert!(console.line("let p = probe(\"profile:hz:99\")").is_ok());
    assert!(console.line("p").is_ok());
    assert!(shown(&console, &paper).contains("nothing is attached yet"), "{}", paper.0.borrow());
}

#[test]
fn policies_are_refused_with_what_holds_them() {
    let (mut console, _) = console();
    let (kind, text) = console.line("policy(\"tc\", \"eth0\").deny(#{ src: \"10.0.0.0/8\" })").unwrap_err();
    assert_eq!(kind, Kind::Script);
    assert!(text.contains("a session holds no policies") && text.contains("help: skep policy apply tc:eth0"), "{text}");
}

#[test]
fn commands_may_be_shortened_where_that_is_clear() {
    let (mut console, paper) = console();
    assert!(console.line(":j").is_ok());
    assert_eq!(shown(&console, &paper), "nothing runs\n");
    let (_, text) = console.line(":d").unwrap_err();
    assert!(text.starts_with("error: no command `:d`\n"), "{text}");
}

#[test]
fn line_that_is_too_long_is_refused_at_once() {
    let (mut console, _) = console();
    let began = Instant::now();
    let (_, text) = console.line(&"a+".repeat(1 << 19)).unwrap_err();
    assert!(text.contains("1.00MiB") && text.contains(":load FILE"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(1));
}

/// What a machine with 50,000 functions in its kernel says of itself.
fn large_machine() -> (PathBuf, Sources) {
    let folder = std::env::temp_dir().join(format!("skep-complete-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("tracing/events/sched/sched_switch")).unwrap();
    let areas = ["vfs", "tcp", "ext4", "do", "__x64_sys"];
    let name = |n: usize| format!("{}_{}_function_{n}\n", areas[n % areas.len()], n % 700);
    let list: String = (0..50_000).map(name).collect();
    std::fs::write(folder.join("tracing/available_filter_functions"), list).unwrap();
    let sources = Sources::new(Machine::captured(&folder), Catalog::embedded());
    (folder, sources)
}

#[test]
fn completion_of_50_000_functions_takes_less_than_50_milliseconds() {
    let (folder, sources) = large_machine();
    let known = Known::default();
    // The first one reads and sorts the list, for which code without optimisation takes ten times as long.
    let began = Instant::now();
    assert_eq!(sources.functions().len(), 50_000);
    let first = began.elapsed();
    println!("first: {first:?}");
    assert!(cfg!(debug_assertions) || first < Duration::from_millis(50), "{first:?}");
    for (line, wanted) in [
        ("probe(\"kprobe:", "kprobe:vfs_"),
        ("probe(\"kprobe:vfs_", "kprobe:vfs_0_"),
        ("probe(\"kprobe:vfs_45_function_745", "kprobe:vfs_45_function_745"),
        ("probe(\"", "kprobe:"),
        (":fields kprobe:tcp_1", "kprobe:tcp_1_function_"),
    ] {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let began = Instant::now();
            let found = complete(line, line.len(), &known, &sources);
            best = best.min(began.elapsed());
            assert!(found.candidates.iter().any(|one| one.text == wanted), "{line}: {:?}", found.candidates.first());
            assert!(found.candidates.len() <= 1000, "{line}: {}", found.candidates.len());
        }
        println!("{line}: {best:?}");
        assert!(best < Duration::from_millis(50), "{line}: {best:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn texts(line: &str, known: &Known) -> Vec<String> {
    let sources = Sources::new(Machine::live(), Catalog::embedded());
    let found = complete(line, line.len(), known, &sources);
    found.candidates.into_iter().map(|one| one.text).collect()
}

#[test]
fn completion_offers_methods_of_the_value_before_the_dot() {
    let chain = Nature::Chain { points: vec!["t:a:b".to_owned()], template: None, columns: vec!["comm".to_owned()] };
    let known = Known {
        variables: vec![("t".to_owned(), chain), ("table".to_owned(), Nature::Table)],
        functions: vec!["twice".to_owned()],
        jobs: vec![1, 2],
    };
    let all = texts("t.", &known);
    assert!(all.contains(&"hist(".to_owned()) && all.contains(&"stop()".to_owned()), "{all:?}");
    assert!(!all.contains(&"rows()".to_owned()), "{all:?}");
    assert!(texts("table.", &known).contains(&"rows()".to_owned()));
    assert_eq!(texts("probe(\"t:a:b\").by(comm).qu", &known), ["quantiles(", "quiet()"]);
    assert_eq!(texts("probe(\"t:a:b\").hist(args.ret).run(\"1s\").p9", &known), [""; 0]);
    assert_eq!(texts("probe(\"t:a:b\").hist(args.ret).run(\"1s\").mea", &known), ["mean()"]);
    assert_eq!(texts("twi", &known), ["twice("]);
    assert_eq!(texts(":stop ", &known), ["1", "2", "all"]);
}

#[test]
fn completion_offers_parameters_and_fields_of_templates() {
    let known = Known::default();
    assert_eq!(texts("template(\"opensno", &known), ["opensnoop"]);
    assert_eq!(texts("template(\"opensnoop\", #{ fai", &known), ["failed: "]);
    let template = Nature::Chain { points: Vec::new(), template: Some("opensnoop".to_owned()), columns: Vec::new() };
    let known = Known { variables: vec![("t".to_owned(), template)], ..Known::default() };
    assert_eq!(texts("t.set(#{ fai", &known), ["failed: "]);
}

#[test]
fn completion_offers_the_events_fields_in_a_closure() {
    let all = texts("probe(\"t:a:b\").fields(comm, str(args.filename)).each(|e| print(e.", &Known::default());
    assert_eq!(all, ["comm", "filename"]);
}

#[test]
fn completion_survives_any_place_of_any_line() {
    let line = "probe(\"t:ä:b\").by(#{ a: [1, (2] }).each(|e| print(`${e.comm}`)) /* ü";
    let sources = Sources::new(Machine::live(), Catalog::embedded());
    for at in 0..=line.len() + 3 {
        complete(line, at, &Known::default(), &sources);
    }
}

#[test]
fn repl_md_has_every_command() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/repl.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- commands -->\n", "<!-- end of commands -->\n");
    let wanted = markdown();
    if std::env::var_os("SKEP_BLESS").is_some() {
        let (head, rest) = text.split_once(begin).unwrap();
        let (_, tail) = rest.split_once(end).unwrap();
        std::fs::write(path, format!("{head}{begin}{wanted}{end}{tail}")).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(&wanted), "SKEP_BLESS=1 cargo test -p skep-runtime --lib repl_md");
    assert!(COMMANDS.iter().all(|one| !one.help.ends_with('.')));
}
