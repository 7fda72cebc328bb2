//! The command line: options, parameters of scripts, exit statuses, what goes to which stream.

use skep_tests::machine::{Folder, here};
use skep_tests::{Output, Skep, privileged, workload};
use std::time::{Duration, Instant};

const SCRIPT: &str = r#"//! tally - counts things.
//!
//! Usage:    skep run tally [--name NAME] [--most N] [--all]
let name = param("name", #{ value: "x", help: "only threads of this name" });
let most = param("most", #{ value: 5, help: "how many rows" });
let all = param("all", #{ value: false, help: "everything" });
print(`${name} ${most + 1} ${all}`);
"#;

/// Runs [`SCRIPT`] as a file with these words behind it.
fn tally(words: &[&str]) -> Output {
    let folder = Folder::new();
    let file = folder.file("tally.rhai", SCRIPT);
    Skep::new(&["run", &file]).arguments(words).run()
}

#[test]
fn parameters_of_a_script_follow_its_name() {
    assert_eq!(tally(&[]).ok().out, "x 6 false\n");
    assert_eq!(tally(&["--name", "bash", "--most", "7", "--all"]).ok().out, "bash 8 true\n");
    assert_eq!(tally(&["--most=7", "--all=no"]).ok().out, "x 8 false\n");
}

#[test]
fn parameter_of_the_wrong_type_is_an_error() {
    let output = tally(&["--most", "seven"]).status_is(1);
    assert!(output.err.starts_with("error: `--most seven`: a whole number is needed\n"), "{output}");
}

#[test]
fn word_that_is_no_parameter_is_an_error() {
    let output = tally(&["seven"]).status_is(1);
    assert!(output.err.starts_with("error: `seven` is no parameter\n"), "{output}");
}

#[test]
fn misspelt_parameter_names_the_nearest() {
    let output = tally(&["--mots", "7"]).status_is(1);
    assert!(output.err.contains("`--mots`") && output.err.contains("did you mean `--most`?"), "{output}");
}

#[test]
fn help_of_a_script_is_its_header() {
    let folder = Folder::new();
    let file = folder.file("tally.rhai", SCRIPT);
    let help = "tally - counts things.\n\nUsage:    skep run tally [--name NAME] [--most N] [--all]\n";
    assert!(Skep::new(&["doc", &file]).run().ok().out.starts_with(help));
    let output = tally(&["--help"]).ok();
    assert!(output.out.starts_with(help), "{output}");
}

#[test]
fn plan_names_the_parameters() {
    let folder = Folder::new();
    let file = folder.file("tally.rhai", &format!("{SCRIPT}probe(\"profile:hz:99\").count();\n"));
    let output = Skep::new(&["plan", &file, "--most", "7"]).run().ok();
    assert!(output.out.contains("   param   --most 5   how many rows\n"), "{output}");
}

#[test]
fn scripts_and_modules_are_found_in_the_users_folders() {
    let folder = Folder::new();
    folder.file("tally.rhai", SCRIPT);
    folder.file("numbers.rhai", "export const SIX = 6;\nfn double(x) { x * 2 }\nfn mine(p) { p.filter(pid == 6) }\n");
    let folders = folder.0.display().to_string();
    let run = |arguments: &[&str]| Skep::new(arguments).environment("SKEP_PATH", &folders).run();
    assert_eq!(run(&["run", "tally"]).ok().out, "x 6 false\n");
    let script = "import \"numbers\" as numbers; print(numbers::double(numbers::SIX));";
    assert_eq!(run(&["-e", script]).ok().out, "12\n");
    let script = "import \"numbers\" as numbers; numbers::mine(probe(\"profile:hz:99\")).count();";
    let plan = run(&["plan", "-e", script]).ok();
    assert!(plan.out.contains("filter pid == 6"), "{plan}");
    // Nothing outside of the folders can be imported.
    let outside = format!("import \"{folders}/numbers\" as numbers;");
    Skep::new(&["-e", &outside]).run().status_is(1);
    run(&["-e", "import \"../numbers\" as numbers;"]).status_is(1);
}

#[test]
fn scripts_cannot_reach_files_processes_or_the_network() {
    for call in [
        "open_file(\"/etc/passwd\")",
        "system(\"id\")",
        "exec(\"id\")",
        "read(\"/etc/passwd\")",
        "eval(\"1\")",
        "env(\"HOME\")",
    ] {
        Skep::new(&["-e", &format!("{call};")]).run().status_is(1);
    }
}

#[test]
fn wrong_options_have_status_2_and_name_themselves() {
    for (arguments, named) in [
        (&["--for", "soon", "-e", "print(1)"][..], "--for"),
        (&["--ring", "0", "-e", "print(1)"], "--ring"),
        (&["--pid", "0", "-e", "print(1)"], "--pid"),
        (&["--format", "xml", "-e", "print(1)"], "--format"),
        (&["run"], "FILE|NAME"),
        (&["-e"], "-e"),
    ] {
        let output = Skep::new(arguments).run().status_is(2);
        assert!(output.err.starts_with("error: ") && output.err.contains(named) && output.out.is_empty(), "{output}");
    }
}

#[test]
fn unknown_command_and_option_are_named_in_their_error() {
    for (arguments, named) in [(&["bogus"][..], "bogus"), (&["--banana", "-e", "print(1)"], "--banana")] {
        let output = Skep::new(arguments).run().status_is(2);
        let first = output.err.lines().next().unwrap_or_default();
        assert!(first.starts_with("error: ") && first.contains(named), "{output}");
    }
}

#[test]
fn missing_script_and_cgroup_are_errors() {
    let script = Skep::new(&["run", "syscuont"]).run().status_is(1);
    assert!(script.err.contains("no script `syscuont`") && script.err.contains("did you mean `syscount`?"), "{script}");
    let cgroup = Skep::new(&["--cgroup", "/no/such/cgroup", "-e", "print(1)"]).run().status_is(1);
    assert!(cgroup.err.starts_with("error: no cgroup `/no/such/cgroup`: "), "{cgroup}");
}

#[test]
fn process_that_does_not_exist_is_an_error_before_anything_is_attached() {
    for arguments in
        [&["plan", "--pid", "2147483647", "-e", "print(1)"][..], &["--pid", "2147483647", "-e", "print(1)"]]
    {
        let output = Skep::new(arguments).run().status_is(1);
        assert_eq!(output.err, "error: there is no process 2147483647\n  = help: pgrep -a NAME\n");
        assert!(output.out.is_empty());
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [&["--help"][..], &["run", "--help"], &["plan", "--help"], &["--version"]] {
        let output = Skep::new(arguments).run().ok();
        assert!(!output.out.is_empty() && output.err.is_empty(), "{output}");
    }
    assert!(Skep::new(&["--version"]).run().ok().out.starts_with("skep "));
}

#[test]
fn what_the_run_says_of_itself_goes_to_standard_error() {
    privileged!();
    let command = workload::line("getpgid 23");
    let arguments = ["-c", &command, "-e", "probe(\"tracepoint:syscalls:sys_enter_getpgid\").count()"];
    let talking = Skep::new(&arguments).run().ok();
    assert_eq!(talking.out, "count: 23\n");
    let lines: Vec<&str> = talking.err.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("attached `tracepoint:syscalls:sys_enter_getpgid` "), "{talking}");
    assert!(lines[1].starts_with("trust: ") && lines[1].ends_with(" 23 counted, 0 lost"), "{talking}");
    let quiet = Skep::new(&arguments).arguments(&["--quiet"]).run().ok();
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("count: 23\n", ""));
}

#[test]
fn time_of_the_command_line_ends_every_run() {
    privileged!();
    let since = Instant::now();
    let script = r#"
        probe("t:syscalls:sys_enter_getpgid").count().run("60s");
        probe("t:syscalls:sys_enter_lseek").count();
        run();
    "#;
    Skep::new(&["--for", "200ms", "-e", script]).run().ok();
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn timers_tick_without_a_probe() {
    let output = Skep::new(&["-q", "--for", "500ms", "-e", "every(\"100ms\", || print(\"tick\"));"]).run().ok();
    let ticks = output.out.lines().filter(|line| *line == "tick").count();
    assert!((3..=5).contains(&ticks), "{output}");
}

#[test]
fn command_takes_quotes_as_a_shell_does() {
    privileged!();
    let script = "probe(\"t:syscalls:sys_enter_openat\").filter(starts_with(str(args.filename), \"/no\")).by(str(args.filename)).count()";
    let command = format!("{} open 23 '/no where'", workload::path());
    let output = Skep::script(script).arguments(&["-c", &command]).run().ok();
    assert_eq!(output.rows(), [("/no where".to_owned(), 23.into())]);
}

#[test]
fn cgroup_of_the_command_line_restricts_every_chain() {
    privileged!();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .filter(|_| std::path::Path::new("/sys/fs/cgroup/cgroup.procs").exists())
    else {
        return println!("skipped: needs cgroup v2");
    };
    let script = "probe(\"t:syscalls:sys_enter_getpgid\").filter(comm == \"skep-workload\").count()";
    let output = Skep::on("getpgid 23", script).arguments(&["--cgroup", &format!("/sys/fs/cgroup{path}")]).run().ok();
    assert_eq!(output.value(), 23);
}

#[test]
fn list_finds_by_glob_short_form_and_word() {
    privileged!();
    let listed = |pattern: &str| Skep::new(&["list", pattern]).run().ok().out;
    let point = "tracepoint:sched:sched_process_fork";
    for pattern in
        ["tracepoint:sched:sched_process_*", "t:sched:sched_process_f*", "sched_process_fork", "tracepoint:sched"]
    {
        assert!(listed(pattern).lines().any(|line| line == point), "{pattern}");
    }
    let verbose = Skep::new(&["list", "-v", point]).run().ok().out;
    assert!(verbose.starts_with(&format!("{point}\n    args.parent_comm ")), "{verbose}");
    let nothing = Skep::new(&["list", "t:sched:sched_process_frok"]).run().status_is(1);
    assert!(nothing.err.contains(&format!("did you mean `{point}`?")), "{nothing}");
}

#[test]
fn library_is_listed_searched_and_checked() {
    let all = Skep::new(&["lib", "list"]).run().ok().out;
    assert!(all.lines().count() > 80 && all.contains("net/tcpretrans "), "{all}");
    let some = Skep::new(&["lib", "list", "security"]).run().ok().out;
    assert!(some.lines().all(|line| line.starts_with("security/")) && some.lines().count() > 4, "{some}");
    let near = Skep::new(&["lib", "list", "sceurity"]).run().status_is(1);
    assert!(near.err.contains("no area `sceurity`"), "{near}");
    let found = Skep::new(&["lib", "search", "TCP", "again"]).run().ok().out;
    assert!(found.contains("net/tcpretrans ") && !found.contains("net/dnssnoop"), "{found}");
    let info = Skep::new(&["lib", "info", "biosnoop", "--format", "json"]).run().ok().json();
    assert_eq!((&info[0]["name"], &info[0]["parameters"][0]["name"]), (&"disk/biosnoop".into(), &"slower".into()));
    let checked = Skep::new(&["lib", "check"]).run().ok();
    assert!(checked.out.lines().last().is_some_and(|line| line.contains(" scripts, 0 wrong")), "{checked}");
}

#[test]
fn script_of_ones_own_is_begun_checked_and_preferred() {
    let folder = Folder::new();
    let own = folder.0.display().to_string();
    let skep = |arguments: &[&str]| Skep::new(arguments).environment("SKEP_PATH", &own).run();
    let path = folder.0.join("net/mine.rhai");
    assert_eq!(skep(&["lib", "new", "net/mine"]).ok().out, format!("wrote {}\n", path.display()));
    let again = skep(&["lib", "new", "net/mine"]).status_is(1);
    assert!(again.err.contains("is there already"), "{again}");
    // It runs, and what it shows is yet to be written down.
    let checked = skep(&["lib", "check", "net/mine"]).status_is(1);
    assert!(checked.out.contains("wrong    net/mine") && checked.out.contains("the example shows no run"), "{checked}");
    let text = std::fs::read_to_string(&path).expect("it was written");
    let text = text.replace("//!   (its output", "//!   comm count\n//!   a 1\n//!   (its output");
    std::fs::write(&path, &text).expect("it is ours");
    skep(&["lib", "check", "net/mine"]).ok();
    std::fs::write(folder.0.join("syscount.rhai"), "print(1);").expect("it is ours");
    let hidden = skep(&["run", "syscount"]).ok();
    assert_eq!(hidden.out, "1\n", "{hidden}");
    assert!(hidden.err.contains("the library has one of this name too"), "{hidden}");
    assert!(skep(&["lib", "list"]).ok().out.contains("net/mine "));
}

#[test]
fn library_scripts_print_what_they_printed_when_they_were_recorded() {
    let tested = Skep::new(&["lib", "test", here("../scripts").to_str().expect("a plain path")]).run().ok();
    let with = |state: &str| tested.out.lines().filter(|line| line.starts_with(state)).count();
    assert!(with("ok ") >= 79 && tested.out.ends_with(", 0 failed, 0 without a recording\n"), "{tested}");
    // Packets that a policy decides about are no events of a script.
    assert_eq!((with("none "), tested.out.matches("cannot be recorded: its policies").count()), (3, 3), "{tested}");
}

#[test]
fn test_of_a_script_fails_where_it_prints_something_else_or_nobody_said_what() {
    let folder = Folder::new();
    for part in ["rhai", "skep", "txt"] {
        let from = here(&format!("../scripts/process/naptime.{part}"));
        std::fs::copy(from, folder.0.join(format!("naptime.{part}"))).expect("it is there");
    }
    let test = |bless: &str| {
        let arguments = ["lib", "test", folder.0.to_str().expect("a plain path")];
        Skep::new(&arguments).environment("SKEP_BLESS", bless).run()
    };
    test("0").ok();
    let golden = folder.0.join("naptime.txt");
    let text = std::fs::read_to_string(&golden).expect("it is there");
    std::fs::write(&golden, text.replace("750,000", "750,001")).expect("it is ours");
    let differs = test("0").status_is(1);
    assert!(differs.out.contains("differs ") && differs.out.contains("750,001") && differs.out.contains("750,000"));
    std::fs::remove_file(&golden).expect("it is ours");
    let nobody = test("0").status_is(1);
    assert!(nobody.out.contains("no text "), "{nobody}");
    assert!(test("1").ok().out.contains("written "));
    assert_eq!(std::fs::read_to_string(&golden).expect("it was written"), text);
    // The script has changed, and the recording has not.
    let script = folder.0.join("naptime.rhai");
    let changed = std::fs::read_to_string(&script).expect("it is there").replace(".by(comm)", ".by(pid)");
    std::fs::write(&script, changed).expect("it is ours");
    assert!(test("0").status_is(1).out.contains("differs "));
}

#[test]
fn table_of_tools_names_scripts_that_exist_and_every_tool_of_bpftrace() {
    const BPFTRACE: &str = "bashreadline biolatency biolatency-kp biosnoop biostacks bitesize capable cpuwalk dcsnoop execsnoop \
        gethostlatency killsnoop loads mdflush naptime oomkill opensnoop pidpersec runqlat runqlen setuids ssllatency sslsnoop \
        statsnoop swapin syncsnoop syscount tcpaccept tcpconnect tcpdrop tcplife tcpretrans tcpsynbl threadsnoop undump \
        vfscount vfsstat writeback xfsdist";
    let table = std::fs::read_to_string(here("../docs/tools.md")).expect("it is there");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let tools: Vec<&str> = rows.iter().flat_map(|row| row[1].split(", ")).collect();
    for tool in BPFTRACE.split_whitespace() {
        assert!(tools.contains(&tool), "{tool}");
    }
    let library = Skep::new(&["lib", "list"]).run().ok().out;
    let scripts: Vec<&str> =
        library.lines().filter_map(|line| line.split_whitespace().next()?.rsplit('/').next()).collect();
    for row in rows {
        // What stands before a colon or a semicolon names scripts; other cells begin with words or with code.
        let named = row[3].split([':', ';']).next().unwrap_or_default();
        if named.starts_with("not yet") || named.starts_with('`') || named.starts_with('/') {
            continue;
        }
        for name in named.split(", ").filter_map(|name| name.split_whitespace().next()).filter(|name| *name != "from") {
            assert!(scripts.contains(&name), "`{name}` in the row of {}", row[1]);
        }
    }
}

/// What bash offers behind `line`, of which the last word is being typed.
fn bash_offers(line: &str) -> Vec<String> {
    let script = format!(
        "source <(\"$1\" completion bash); line='{line}'; read -ra COMP_WORDS <<<\"$line\"; \
         [[ $line == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); word=${{COMP_WORDS[COMP_CWORD]}}; \
         COMP_WORDS[0]=$1; _skep_library \"$1\" \"$word\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let mut bash = std::process::Command::new("bash");
    let output = bash.args(["-c", &script, "bash"]).arg(skep_tests::skep::binary()).output().expect("bash runs");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn completion_of_bash_knows_commands_scripts_and_their_parameters() {
    assert!(bash_offers("skep rec").contains(&"record".into()));
    assert_eq!(bash_offers("skep run biol"), ["biolatency"]);
    assert_eq!(bash_offers("skep doc disk/biol"), ["disk/biolatency"]);
    assert!(bash_offers("skep record -o a.skep ").contains(&"syscount".into()));
    assert_eq!(bash_offers("skep run syscount --pi"), ["--pid"]);
    let words = bash_offers("skep run syscount --");
    assert!(["--for", "--top"].iter().all(|word| words.contains(&(*word).into())), "{words:?}");
    let own = Skep::new(&["lib", "info", "syscount", "--format", "json"]).run().ok().json();
    let own = own[0]["parameters"].as_array().expect("parameters are a list").clone();
    assert!(!own.is_empty());
    for param in own {
        let name = format!("--{}", param["name"].as_str().unwrap_or("?"));
        assert!(words.contains(&name), "{name}: {words:?}");
    }
}

#[test]
fn completion_of_every_shell_names_every_command_and_asks_the_library() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Skep::new(&["completion", shell]).run().ok().out;
        for command in ["run", "plan", "record", "replay", "flame", "capture", "observe", "policy", "lib", "baseline"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains(" completion -- ") && !script.contains("biolatency"), "{shell}");
    }
    let output = Skep::new(&["completion", "csh"]).run().status_is(2);
    assert!(output.err.contains("'csh'") && output.err.contains("bash"), "{output}");
}

#[test]
fn manual_has_a_page_for_every_command() {
    let page = |words: &[&str]| Skep::new(&["manual"]).arguments(words).run().ok().out;
    let whole = page(&[]);
    assert!(whole.contains(".TH skep 1") && whole.contains("max\\-overhead"), "{whole}");
    let run = page(&["run"]);
    assert!(run.contains(".TH skep\\-run 1") || run.contains(".TH skep-run 1"), "{run}");
    assert!(page(&["lib", "check"]).contains("Parse and plan scripts twice"));
    let wrong = Skep::new(&["manual", "runn"]).run().status_is(1);
    assert!(wrong.err.contains("no command `runn`") && wrong.err.contains("did you mean `run`?"), "{wrong}");
}
