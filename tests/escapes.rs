//! Names that a process chose to attack whoever watches it: its own, its files', its functions', its texts. None reaches
//! the terminal as it is, in whatever form a result is shown.

use skep_tests::machine::Folder;
use skep_tests::pty::Terminal;
use skep_tests::skep::binary;
use skep_tests::{Cgroup, Skep, Workload, c, privileged};
use std::process::Command;
use std::sync::LazyLock;

/// Clears the screen, rings, goes back, begins a sequence of C1, turns what follows round.
const EVIL: &str = "\x1b[2J\x07\r\u{9b}\u{202e}";
/// The same as skep spells it.
const SPELLED: &str = r"\x1b[2J\x07\r\u{9b}\u{202e}";
/// Writes to the clipboard.
const CLIPBOARD: &str = "\x1b]52;c;ZXZpbA==\x07";
const TIMES: usize = 23;

/// As long as the function's name in the source, which it takes the place of.
const FUNCTION: &str = "a\x1b[2J\x07\r\u{9b}\u{202e}function";
const IN_SOURCE: &str = "named_when_compiled_";

/// The program: under an evil name it opens an evil path, from an evil function.
static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    let text = |text: &str| text.bytes().map(|byte| format!("\\{byte:03o}")).collect::<String>();
    let source = format!(
        "#include <fcntl.h>\n#include <sys/prctl.h>\n\
         static __attribute__((noinline)) int {IN_SOURCE}(const char *text) {{ return open(text, O_RDONLY) < 0; }}\n\
         int main(void) {{\n int failed = 0;\n prctl(PR_SET_NAME, \"{}\");\n\
         for (int n = 0; n < {TIMES}; n++) failed += {IN_SOURCE}(\"/nowhere/{}{}\");\n\
         return failed != {TIMES}; }}\n",
        text(EVIL),
        text(EVIL),
        text(CLIPBOARD),
    );
    let program = c::program(env!("CARGO_TARGET_TMPDIR"), "evil", &source, c::FRAMES);
    let mut bytes = std::fs::read(&program).expect("it was compiled");
    assert_eq!(FUNCTION.len(), IN_SOURCE.len(), "nothing moves");
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(IN_SOURCE.as_bytes())).collect();
    assert!(!places.is_empty(), "the function has its name somewhere");
    places.iter().for_each(|at| bytes[*at..at + FUNCTION.len()].copy_from_slice(FUNCTION.as_bytes()));
    std::fs::write(&program, bytes).expect("it is ours");
    program.display().to_string()
});

/// Both streams of a run, as bytes.
struct Shown(Vec<u8>);

impl Shown {
    /// A run of skep; its script with BIN for the program's file.
    #[track_caller]
    fn by(words: &[&str], status: i32) -> Shown {
        let mut command = Command::new("timeout");
        command.arg("120").arg(binary()).args(words.iter().map(|word| word.replace("BIN", &PROGRAM)));
        Shown::of(command, status)
    }

    #[track_caller]
    fn of(mut command: Command, status: i32) -> Shown {
        let output = command.env_remove("SKEP_PATH").env("NO_COLOR", "1").output().expect("it starts");
        let text = String::from_utf8_lossy(&[&output.out()[..], &output.err()].concat()).into_owned();
        assert_eq!(output.status.code(), Some(status), "{text}");
        Shown([output.out(), output.err()].concat())
    }

    /// There is nothing that a terminal acts on.
    #[track_caller]
    fn is_harmless(&self) -> &str {
        let text = std::str::from_utf8(&self.0).unwrap_or_else(|error| panic!("{error}: {:?}", self.0.escape_ascii()));
        let acts = |c: &char| c.is_control() && !matches!(c, '\n' | '\t') || *c == '\u{202e}';
        assert_eq!(text.chars().find(acts), None, "{text:?}");
        text
    }

    /// And the names are there, spelled.
    #[track_caller]
    fn tells(&self, spelled: &str, times: usize) {
        let text = self.is_harmless();
        assert!(text.matches(spelled).count() >= times, "`{spelled}` is not there {times} times: {text}");
    }
}

trait Streams {
    fn out(&self) -> Vec<u8>;
    fn err(&self) -> Vec<u8>;
}

impl Streams for std::process::Output {
    fn out(&self) -> Vec<u8> {
        self.stdout.clone()
    }

    fn err(&self) -> Vec<u8> {
        self.stderr.clone()
    }
}

const OPENS: &str = r#"probe("t:syscalls:sys_enter_openat").filter(starts_with(str(args.filename), "/nowhere/"))"#;

/// A script that watches the program.
#[track_caller]
fn watched(script: &str, options: &[&str]) -> Shown {
    // All of each text: what is cut says less.
    Shown::by(&[&["--wide", "-e", script, "-c", "BIN"], options].concat(), 0)
}

#[test]
fn tables_and_streams_spell_names_and_paths() {
    privileged!();
    for (rest, times) in [
        (".by(comm, str(args.filename)).count()", 2),
        (".fields(comm, str(args.filename))", 2 * TIMES),
        (".printf(\"%-30s %s\\n\", comm, str(args.filename))", 2 * TIMES),
        (".fields(comm, str(args.filename)).each(|e| print(`${e.comm} ${e.filename}`))", 2 * TIMES),
        (".fields(comm, str(args.filename)).each(|e| print(e))", 2 * TIMES),
        (".fields(comm).each(|e| printf(\"%s\\n\", e.comm))", TIMES),
        (".by(comm).hist(args.flags).named(\"flags\")", 1),
        (".by(ustack, comm).count()", 1),
    ] {
        watched(&format!("{OPENS}{rest}"), &[]).tells(SPELLED, times);
        watched(&format!("{OPENS}{rest}"), &["--format", "csv"]).is_harmless();
        Shown::by(&["-e", &format!("{OPENS}{rest}"), "-c", "BIN"], 0).is_harmless();
    }
}

#[test]
fn json_has_the_names_themselves_as_its_own_escapes() {
    privileged!();
    for rest in [".by(comm).count()", ".fields(comm)", ".fields(comm).each(|e| print(e.comm))"] {
        let shown = watched(&format!("{OPENS}{rest}"), &["--format", "json"]);
        shown.tells(r"\u001b[2J\u0007\r\u009b\u202e", 1);
        let lines = shown.is_harmless().lines().filter_map(|line| serde_json::from_str(line).ok());
        let all: Vec<serde_json::Value> = lines.collect();
        assert!(all.iter().any(|line| has(line, EVIL)), "{all:?}");
    }
}

/// Is there such a text somewhere?
fn has(json: &serde_json::Value, text: &str) -> bool {
    match json {
        serde_json::Value::String(own) => own == text,
        serde_json::Value::Array(all) => all.iter().any(|one| has(one, text)),
        serde_json::Value::Object(all) => all.values().any(|one| has(one, text)),
        _ => false,
    }
}

#[test]
fn functions_are_spelled_in_lists_tables_and_errors() {
    privileged!();
    Shown::by(&["list", "uprobe:BIN:a*function"], 0).tells(SPELLED, 1);
    watched("probe(\"uprobe:BIN:a*function\").by(probe, comm, str(arg0)).count()", &[]).tells(SPELLED, 3);
    Shown::by(&["plan", "-e", "probe(\"uprobe:BIN:a*function\").count()"], 0).tells(SPELLED, 1);
    // The nearest name is offered.
    let wrong = FUNCTION.replace("function", "functiom").replace('\x1b', "\\x1b").replace('\x07', "\\x07");
    let wrong = wrong.replace('\r', "\\r");
    Shown::by(&["-e", &format!("probe(\"uprobe:BIN:{wrong}\").count()")], 1).tells(r"\u{9b}\u{202e}functiom", 1);
}

#[test]
fn graphs_and_reports_hold_nothing_that_acts() {
    privileged!();
    let folder = Folder::new();
    let file = |name: &str| folder.0.join(name).display().to_string();
    let script = "probe(\"uprobe:BIN:a*function\").by(comm, ustack).count()";
    for name in ["cpu.folded", "cpu.svg", "cpu.json"] {
        watched(script, &["-o", &file(name)]).is_harmless();
    }
    let script = format!(
        "let t = {OPENS}.by(comm, str(args.filename)).count().run(); for row in t {{ finding(\"warn\", `opens of ${{row.comm}}`, t) }}"
    );
    for name in ["report.md", "report.html"] {
        Shown::by(&["-e", &script, "-c", "BIN", "--report", &file(name)], 10).tells(SPELLED, 1);
    }
    for name in ["cpu.folded", "cpu.svg", "report.md", "report.html"] {
        let shown = Shown(std::fs::read(file(name)).expect("it was written"));
        assert!(shown.is_harmless().contains("[2J"), "{name} has the name");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file("cpu.json")).expect("it was written")).expect("it is JSON");
    assert!(!json.is_null());
}

#[test]
fn paths_of_requests_and_names_of_questions_are_spelled() {
    privileged!();
    let cgroup = Cgroup::new();
    let group = cgroup.0.display().to_string();
    let workload = Workload::stopped(&format!(
        "alone join {group} http tcp4 {TIMES} GET /\x1b[2J\x07\u{9b}\u{202e} 200 0 dns udp4 {TIMES} a\x1b[2J\x07.example 1 0"
    ));
    let script = format!(
        r#"template("http", #{{ cgroup: "{group}" }}).by(path).count(); template("dns", #{{ cgroup: "{group}" }}).by(name).count()"#
    );
    let run = Skep::new(&["-e", &script]).start().attached();
    workload.go();
    let output = run.interrupt().ok();
    let shown = Shown([output.out, output.err].concat().into_bytes());
    shown.tells(&format!("/{}", SPELLED.replace(r"\r", "")), 1);
    // Names of hosts have no such signs: the template itself leaves them out.
    shown.tells("a?[2j?.example", 1);
}

#[test]
fn sessions_show_no_name_as_it_is() {
    privileged!();
    let mut terminal = Terminal::start(&["repl"]).ready();
    terminal.answers(&format!("let t = {OPENS}.by(comm, str(args.filename)).count()"), "; job 1\n");
    let mut program = Command::new(&*PROGRAM);
    assert!(program.status().is_ok_and(|status| status.success()));
    terminal.answers("t", SPELLED);
    terminal.answers("for row in t.value() { print(row.comm) }", SPELLED);
    terminal.answers(&format!(":list uprobe:{}:a*function", *PROGRAM), SPELLED);
    terminal.answers("t.stop()", "job 1 ended");
    let raw = terminal.raw();
    for sign in [&b"\x1b[2J"[..], b"\x1b]52", b"\x07", "\u{9b}".as_bytes(), "\u{202e}".as_bytes()] {
        assert!(!raw.windows(sign.len()).any(|part| part == sign), "{}", sign.escape_ascii());
    }
}
