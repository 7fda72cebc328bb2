//! What is typed, and what it means.

use super::*;

fn cli(line: &str) -> Cli {
    parse(line.split_whitespace().map(OsString::from).collect()).unwrap()
}

#[test]
fn global_options_are_found_behind_a_scripts_name() {
    let parsed = cli("skep run syscount --top 5 --format json --pid 7 --all");
    assert!(parsed.json);
    assert_eq!(parsed.pid, Some(7));
    let words = ["--top", "5", "--all"].map(str::to_owned).to_vec();
    assert_eq!(parsed.job, Job::Run { script: Source::Named("syscount".into()), words });
}

#[test]
fn enforce_is_found_behind_a_scripts_name_and_is_a_policys_own_elsewhere() {
    assert!(cli("skep run denywatch --cidr 10.0.0.0/8 --enforce").enforce);
    assert!(cli("skep --enforce -e exit()").enforce && cli("skep -e exit() --enforce").enforce);
    let parsed = cli("skep policy apply tc:eth0 --rules a.json --enforce --confirm-within 5s");
    assert!(!parsed.enforce);
}

#[test]
fn inline_script_takes_parameters() {
    let parsed = cli("skep -e exit() --top 5");
    assert_eq!(
        parsed.job,
        Job::Run { script: Source::Inline("exit()".into()), words: vec!["--top".into(), "5".into()] }
    );
    let parsed = cli("skep plan -e exit() --code");
    assert_eq!(
        parsed.job,
        Job::Plan {
            script: Source::Inline("exit()".into()),
            words: vec![],
            detail: Detail { code: true, measure: false }
        }
    );
}

#[test]
fn last_of_two_options_holds_and_folders_add_up() {
    let parsed = cli("skep --for 5s --quiet run syscount --for 6s --quiet --templates a --templates b");
    assert_eq!(parsed.longest, Some(Duration::from_secs(6)));
    assert_eq!(parsed.templates, ["a", "b"].map(PathBuf::from));
}

#[test]
fn common_options_are_words_of_the_script_wherever_they_stand() {
    let words = |line: &str| match cli(line).job {
        Job::Run { words, .. } => words.join(" "),
        other => panic!("{other:?}"),
    };
    assert_eq!(words("skep run syscount --interval 1s --count 5"), "--interval 1s --count 5");
    assert_eq!(words("skep --top 3 run --interval 1s syscount --all"), "--top 3 --interval 1s --all");
    assert_eq!(words("skep -e exit() --interval 1s --port 7 --top 3"), "--interval 1s --port 7 --top 3");
    assert_eq!(words("skep run tcpaccept --count --port 80"), "--count --port 80");
}

#[test]
fn comma_separated_values_are_of_scripts_only() {
    assert_eq!(cli("skep run syscount --format csv").format(), Format::Csv);
    assert_eq!(cli("skep run syscount").format(), Format::Text);
    assert!(parse(["skep", "doctor", "--format", "csv"].map(OsString::from).to_vec()).is_err());
}

#[test]
fn sizes_and_times_are_checked() {
    assert_eq!(bytes("32M"), Ok(32 << 20));
    assert!(bytes("0").is_err() && bytes("M").is_err());
    assert!(parse(["skep", "--for", "soon", "list"].map(OsString::from).to_vec()).is_err());
}

#[test]
fn every_command_goes_by_its_name() {
    for (name, definition) in definition::COMMANDS {
        assert_eq!(definition().get_name(), name);
    }
    let one = definition::command_with(|name| name == "flame");
    assert_eq!(one.get_subcommands().map(Command::get_name).collect::<Vec<_>>(), ["flame"]);
}

#[test]
fn help_and_errors_know_every_command() {
    let said = |line: &str| parse(line.split_whitespace().map(OsString::from).collect()).unwrap_err().to_string();
    for help in [said("skep --help"), said("skep help")] {
        for (name, _) in definition::COMMANDS {
            assert!(help.contains(&format!("\n  {name} ")), "{name}: {help}");
        }
    }
    assert!(said("skep help flame").contains("Usage: skep flame"));
    for wrong in ["skep --no-such-option", "skep run", "skep nothing"] {
        assert!(said(wrong).contains("Usage: skep"), "{}", said(wrong));
    }
}
