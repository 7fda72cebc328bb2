//! Baselines: what is measured is kept, what is slower is found, and exit statuses say so.

use serde_json::Value;
use skep_tests::{Output, Skep, machine, privileged, workload};
use std::path::{Path, PathBuf};

/// A folder of baselines of this test's own, empty.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("baselines").join(name);
        let _absent = std::fs::remove_dir_all(&folder);
        Folder(folder)
    }

    /// `skep baseline VERB` here.
    fn skep(&self, verb: &str, words: &[&str]) -> Skep {
        Skep::new(&["baseline", verb, "--dir", &self.0.display().to_string()]).arguments(words)
    }

    /// Of a script on a workload.
    #[track_caller]
    fn on(&self, verb: &str, verbs: &str, script: &str) -> Output {
        let script = script.replace("BIN", &format!("uprobe:{}", workload::path()));
        let script = script.replace("RET", &format!("uretprobe:{}", workload::path()));
        self.skep(verb, &["run", "--format", "json", "-c", &workload::line(verbs), "-e", &script]).run()
    }
}

/// Values from 1 to N, of which nothing is left to chance.
const VALUES: &str = r#"probe("BIN:workload_double").quantiles(arg0).named("values");"#;

/// Quantile, value of the baseline, value now, verdict.
fn rows(output: &Output) -> Vec<(f64, u64, u64, String)> {
    let comparison = output.objects("comparison").remove(0);
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let row = |row: &Value| {
        let verdict = row["verdict"].as_str().unwrap_or_default().to_owned();
        (row["quantile"].as_f64().unwrap_or_default(), number(&row["baseline"]), number(&row["now"]), verdict)
    };
    comparison["rows"].as_array().into_iter().flatten().map(row).collect()
}

#[test]
fn same_again_is_the_same_and_half_as_much_more_is_worse() {
    privileged!();
    let folder = Folder::new("values");
    let saved = folder.on("save", "double 1009", VALUES).ok();
    assert!(saved.err.contains("saved 1,009 samples of 1 run in "), "{saved}");
    let same = folder.on("compare", "double 1009", VALUES).ok();
    assert!(rows(&same).iter().all(|(_, before, now, verdict)| before == now && verdict == "same"), "{same}");
    let worse = folder.on("compare", "double 1513", VALUES).status_is(4);
    let found = rows(&worse);
    for ((share, before, now, verdict), (wanted, n)) in found.iter().zip([(0.5, 505), (0.95, 959), (0.99, 999)]) {
        assert_eq!((*share, verdict.as_str()), (wanted, "worse"), "{worse}");
        assert!((n..=n + n / 64).contains(before) && now * 2 > before * 29 / 10, "{worse}");
    }
    assert_eq!(found.len(), 3, "{worse}");
    let better = folder.on("compare", "double 701", VALUES).ok();
    assert!(rows(&better).iter().all(|row| row.3 == "better"), "{better}");
}

#[test]
fn naps_that_take_half_as_long_again_are_worse() {
    privileged!();
    let folder = Folder::new("naps");
    let naps = r#"
        span("tracepoint:syscalls:sys_enter_clock_nanosleep", "tracepoint:syscalls:sys_exit_clock_nanosleep")
            .fields(comm, #{ usecs: elapsed / 1_000 });
    "#;
    folder.on("save", "nap 307 4", naps).ok();
    let worse = folder.on("compare", "nap 307 6", naps).status_is(4);
    let (share, before, now, verdict) = rows(&worse).remove(0);
    assert_eq!((share, verdict.as_str()), (0.5, "worse"), "{worse}");
    assert!(before >= 4_000 && now >= 6_000, "{worse}");
}

#[test]
fn few_samples_are_told_from_no_change() {
    privileged!();
    let folder = Folder::new("few");
    folder.on("save", "double 3", VALUES).ok();
    let few = folder.on("compare", "double 3", VALUES).status_is(5);
    assert!(rows(&few).iter().all(|row| row.3 == "too few"), "{few}");
    // The median can be judged, and nothing else.
    folder.on("save", "double 29", VALUES).status_is(1);
    folder.skep("remove", &["run"]).run().ok();
    folder.on("save", "double 29", VALUES).ok();
    assert_eq!(rows(&folder.on("compare", "double 29", VALUES).status_is(5))[0].3, "same");
}

#[test]
fn keys_are_compared_one_by_one_and_others_are_named() {
    privileged!();
    let folder = Folder::new("keys");
    let script = r#"probe("BIN:workload_double").by(comm).hist(arg0);"#;
    folder.on("save", "name one double 1009 name two double 1009", script).ok();
    let worse = folder.on("compare", "name two double 4091 name three double 1009", script).status_is(4);
    let comparison = &worse.objects("comparison")[0];
    assert_eq!(comparison["gone"][0]["key"], "comm=one", "{worse}");
    assert_eq!(comparison["new"][0]["key"], "comm=three", "{worse}");
    let keys: Vec<&Value> = comparison["rows"].as_array().into_iter().flatten().map(|row| &row["key"]).collect();
    assert_eq!(keys, ["comm=two"; 3], "{worse}");
}

#[test]
fn saved_script_is_run_again_with_its_parameters() {
    privileged!();
    let folder = Folder::new("again");
    let script = VALUES.replace("arg0", "arg0 * param(\"times\", 1)");
    let script = script.replace("BIN", &format!("uprobe:{}", workload::path()));
    let line = workload::line("double 1009");
    folder.skep("save", &["run", "-c", &line, "-e", &script, "--times", "3"]).run().ok();
    let again = folder.skep("compare", &["run", "--format", "json", "-c", &line]).run().ok();
    assert_eq!(rows(&again)[0].1, rows(&again)[0].2, "{again}");
    let other = folder.skep("compare", &["run", "--format", "csv", "-c", &line, "-e", &script, "--times", "5"]);
    let other = other.run().status_is(4);
    assert!(other.err.contains("warning: what is behind the script's name was `--times 3`"), "{other}");
    let lines: Vec<&str> = other.out.lines().collect();
    assert_eq!(lines.len(), 4, "{other}");
    assert!(lines[0].starts_with("title,key,quantile,baseline,now,change,verdict"), "{other}");
    let shown = folder.skep("show", &["run"]).run().ok();
    assert!(shown.out.contains("script   -e --times 3") && shown.out.contains("n 1,009"), "{shown}");
}

#[test]
fn worse_is_what_is_worse_than_every_run_of_the_baseline() {
    privileged!();
    let folder = Folder::new("runs");
    let run = |verb: &str, n: u32, add: &[&str]| {
        let (line, script) =
            (workload::line(&format!("double {n}")), VALUES.replace("BIN", &format!("uprobe:{}", workload::path())));
        folder.skep(verb, add).arguments(&["run", "--format", "json", "-c", &line, "-e", &script]).run()
    };
    run("save", 1009, &["--add"]).ok();
    let grown = run("save", 1511, &["--add"]).ok();
    assert!(grown.err.contains("saved 2,520 samples of 2 runs in "), "{grown}");
    let between = run("compare", 1301, &[]).ok();
    assert!(rows(&between).iter().all(|row| row.3 == "same"), "{between}");
    run("compare", 2003, &[]).status_is(4);
    let other = folder.on("save", "double 7", VALUES).status_is(1);
    assert!(other.err.contains("help: --add gives it another run, --force replaces it"), "{other}");
    let other = folder.skep("save", &["--add", "run", "-c", "true", "-e", "run()"]).run().status_is(1);
    assert!(other.err.contains("measured no distribution"), "{other}");
}

#[test]
fn recording_is_a_baseline_without_privilege() {
    let folder = Folder::new("recorded");
    std::fs::create_dir_all(&folder.0).expect("the target folder is ours");
    let recording = machine::here("fixtures/recordings/v1.skep").display().to_string();
    let saved = folder.skep("save", &["v1", "--replay", &recording]).run().ok();
    assert!(saved.err.contains("saved "), "{saved}");
    let text = std::fs::read_to_string(folder.0.join("v1.json")).expect("it was saved");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!((&json["kernel"], &json["host"]), (&"6.18.44-fc-v657".into(), &"".into()), "{text}");
    assert!(json["series"][0]["hdr"].as_str().is_some_and(|hdr| hdr.starts_with("HISTFAAA")), "{text}");
    let same = folder.skep("compare", &["v1", "--replay", &recording]).run().status_is(5);
    assert!(same.out.contains("too few samples for p95, p99: measure for longer"), "{same}");
    let listed = folder.skep("list", &[]).run().ok();
    assert!(listed.out.starts_with("v1 ") && listed.out.lines().count() == 1, "{listed}");
    let live = folder.skep("compare", &["v1", "--replay", &recording, "--for", "1s"]).run().status_is(1);
    assert!(live.err.contains("`--for` is for live runs"), "{live}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = Folder::new("refused");
    let says = |verb: &str, words: &[&str], text: &str| {
        let output = folder.skep(verb, words).run().status_is(1);
        assert!(output.err.contains(text), "{output}");
    };
    says("compare", &["none"], "there is no baseline `none` in ");
    says("remove", &["none"], "there is no baseline `none` in ");
    says("save", &["../a", "syslat"], "`../a` is no name of a baseline");
    says("save", &["a"], "a baseline of what?");
    says("save", &["a", "-e", "print(1)"], "`-e` measured no distribution");
    says("save", &["a", "-e", "run()", "--interval", "1s"], "a baseline is of a whole run");
    assert!(folder.skep("list", &[]).run().ok().out.is_empty());
}
