//! `skep lib`: the scripts of the library and of the user's folders: found, described, begun, checked.

mod tests;

use crate::args::{Cli, Source};
use crate::list::put;
use crate::plan::planned;
use crate::run::{library, open, own_scripts, show};
use clap::{Arg, ArgMatches, Command};
use serde_json::json;
use skep_runtime::diagnostic::{Diagnostic, Kind};
use skep_runtime::library::Script;
use skep_runtime::library::header::{Header, PARTS};
use std::path::{Path, PathBuf};

/// What is asked of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    List { area: Option<String> },
    Search { words: Vec<String> },
    Info { name: String },
    New { name: String },
    Check { scripts: Vec<String> },
    Test { paths: Vec<PathBuf> },
}

const EXAMPLES: &str = "\
Examples:
  skep lib list net
  skep lib search tcp retransmit
  skep lib info tcpretrans
  skep lib new net/slowdns          a script to begin with, in the first folder of SKEP_PATH
  skep lib check                    parse, plan, header of all that is found; needs no privilege
  skep lib test ~/skep              replay NAME.skep beside each NAME.rhai: does it print NAME.txt?";

pub fn command() -> Command {
    let name = |help: &'static str| Arg::new("name").value_name("NAME").help(help).required(true);
    Command::new("lib")
        .about("Scripts of the library and of your folders (SKEP_PATH, ~/.config/skep/scripts)")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("list")
                .about("List scripts, of all areas or of one")
                .arg(Arg::new("area").value_name("AREA").help("such as net, disk, sched")),
        )
        .subcommand(
            Command::new("search")
                .about("Scripts whose header has these words")
                .arg(Arg::new("words").value_name("WORD").num_args(1..).required(true)),
        )
        .subcommand(Command::new("info").about("The header of a script, and its parameters").arg(name("of the script")))
        .subcommand(
            Command::new("new")
                .about("Write a script to begin with")
                .arg(name("with its area, such as net/slowdns, or a path that ends in .rhai")),
        )
        .subcommand(
            Command::new("check")
                .about("Parse and plan scripts twice, look whether their headers are whole; no privilege")
                .arg(
                    Arg::new("scripts").value_name("FILE|NAME").help("all that are found, unless given").num_args(0..),
                ),
        )
        .subcommand(tests::command())
}

impl Wish {
    pub fn of(matches: &ArgMatches) -> (Wish, &ArgMatches) {
        let (verb, matches) = matches.subcommand().unwrap_or(("list", matches));
        let one = |name: &str| matches.get_one::<String>(name).cloned();
        let list = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
        let wish = match verb {
            "search" => Wish::Search { words: list("words") },
            "info" => Wish::Info { name: one("name").unwrap_or_default() },
            "new" => Wish::New { name: one("name").unwrap_or_default() },
            "check" => Wish::Check { scripts: list("scripts") },
            "test" => Wish::Test { paths: tests::paths(matches) },
            _ => Wish::List { area: one("area") },
        };
        (wish, matches)
    }
}

pub fn lib(cli: &Cli, wish: &Wish) -> u8 {
    let done = match wish {
        Wish::List { area } => list(cli, area.as_deref()),
        Wish::Search { words } => search(cli, words),
        Wish::Info { name } => info(cli, name),
        Wish::New { name } => begin(name),
        Wish::Check { scripts } => return check(cli, scripts),
        Wish::Test { paths } => tests::test(cli, paths),
    };
    done.unwrap_or_else(|diagnostic| show(&diagnostic, None))
}

fn area(script: &Script) -> &str {
    script.name.rsplit_once('/').map_or("", |(area, _)| area)
}

/// A line, or an object, each.
fn listed<'a>(cli: &Cli, scripts: impl Iterator<Item = &'a Script>) -> u8 {
    let line = |script: &Script| match cli.json {
        true => format!("{}\n", json!({ "v": 1, "type": "script", "name": script.name, "answers": script.summary() })),
        false => format!("{:<26} {}\n", script.name, script.summary()),
    };
    put(&scripts.map(line).collect::<String>())
}

fn list(cli: &Cli, wanted: Option<&str>) -> Result<u8, Diagnostic> {
    let all = library().all();
    let mut areas: Vec<&str> = all.iter().map(area).collect();
    areas.sort_unstable();
    areas.dedup();
    if let Some(wanted) = wanted.filter(|wanted| !areas.contains(wanted)) {
        let areas: Vec<&str> = areas.into_iter().filter(|area| !area.is_empty()).collect();
        let error = Diagnostic::script(format!("no area `{wanted}` in the library")).nowhere();
        return Err(error.help(format!("one of {}", areas.join(", "))));
    }
    Ok(listed(cli, all.iter().filter(|script| wanted.is_none_or(|wanted| area(script) == wanted))))
}

fn search(cli: &Cli, words: &[String]) -> Result<u8, Diagnostic> {
    let all = library().all();
    let found: Vec<&Script> = all.iter().filter(|script| Header::of(script).answers(words)).collect();
    if found.is_empty() {
        let error = Diagnostic::script(format!("no script says `{}`", words.join(" "))).nowhere();
        return Err(error.help("skep lib list      (fewer words find more)"));
    }
    Ok(listed(cli, found.into_iter()))
}

fn info(cli: &Cli, name: &str) -> Result<u8, Diagnostic> {
    let script = library().open(name)?;
    let header = Header::of(&script);
    // A script that cannot be planned here has a header all the same.
    let params = planned(cli, &script, &[]).map(|plan| plan.params).unwrap_or_default();
    if cli.json {
        let part = |name: &&str| ((*name).to_lowercase(), header.part(name).map(|lines| lines.join("\n")).into());
        let parts: serde_json::Map<String, serde_json::Value> = PARTS.iter().map(part).collect();
        let params: Vec<_> =
            params.iter().map(|one| json!({ "name": one.name, "preset": one.preset, "help": one.help })).collect();
        let mut object = json!({ "v": 1, "type": "script", "name": script.name, "answers": header.summary });
        object["parts"] = parts.into();
        object["parameters"] = params.into();
        return Ok(put(&format!("{object}\n")));
    }
    let mut text = script.header();
    if !params.is_empty() {
        text += "Parameters:\n";
    }
    for one in params {
        text += &format!("  --{} {}   {}\n", one.name, one.preset, one.help);
    }
    Ok(put(&text))
}

/// What a new script begins as: it runs, and what is to be said of it stands there to be replaced.
const BEGUN: &str = "\
//! NAME - what it answers.
//!
//! Usage:    skep run NAME [--for 10s] [--top N]
//! Example:  sudo skep run NAME --for 5s
//!   (its output down to the trust line, and a line about what it shows)
//! Columns:  comm      the program
//! Overhead: not measured.
//! Needs:    Linux 5.10 with BTF; CAP_BPF, CAP_PERFMON

probe(\"tracepoint:raw_syscalls:sys_enter\").by(comm).count().top(10);
";

fn begin(name: &str) -> Result<u8, Diagnostic> {
    let refused = |message: String, help: &str| Err(Diagnostic::script(message).nowhere().help(help));
    let path = match name.strip_suffix(".rhai") {
        Some(_) => PathBuf::from(name),
        None if name.split('/').any(|part| part.is_empty() || part.starts_with('.')) => {
            return refused(format!("`{name}` is no name of a script"), "skep lib new net/slowdns");
        }
        None => match own_scripts().first() {
            Some(folder) => folder.join(format!("{name}.rhai")),
            None => return refused("no folder for scripts is known".into(), "export SKEP_PATH=$HOME/skep"),
        },
    };
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        let text = BEGUN.replace("NAME", &path.file_stem().unwrap_or_default().to_string_lossy());
        let mut file = std::fs::File::create_new(&path)?;
        std::io::Write::write_all(&mut file, text.as_bytes())
    });
    match written {
        Ok(()) => Ok(put(&format!("wrote {}\n", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            refused(format!("`{}` is there already", path.display()), "skep lib new ANOTHER_NAME")
        }
        Err(error) => {
            let error = skep_runtime::kernel::load::text(&error);
            Err(Diagnostic::machine(format!("failed to write `{}`: {error}", path.display())))
        }
    }
}

fn counted(scripts: usize) -> String {
    format!("{scripts} script{}", if scripts == 1 { "" } else { "s" })
}

/// A line for each script; 1 if any has a fault. What this machine does not have is no fault of a script.
fn check(cli: &Cli, names: &[String]) -> u8 {
    let scripts = match names {
        [] => library().all(),
        names => {
            let opened = names.iter().map(|name| open(&Source::Named(name.clone())));
            match opened.collect::<Result<Vec<_>, _>>() {
                Ok(scripts) => scripts,
                Err(diagnostic) => return show(&diagnostic, None),
            }
        }
    };
    let (mut wrong, mut untried, mut out) = (0, 0, String::new());
    for script in &scripts {
        let name = Path::new(&script.name).file_stem().map_or(script.name.clone(), |stem| stem.display().to_string());
        let mut faults = Header::of(script).faults(&name);
        let mut here = None;
        match (planned(cli, script, &[]), planned(cli, script, &[])) {
            (Ok(one), Ok(other)) if one.text != other.text => {
                faults.push("two plans of it differ: what it attaches hangs on time or chance".into());
            }
            (Ok(_), Ok(_)) => {}
            (Err(diagnostic), _) | (_, Err(diagnostic)) => match diagnostic.kind {
                Kind::Machine => here = Some(diagnostic.message.clone()),
                _ => faults.push(diagnostic.message.clone()),
            },
        }
        let state = match (faults.is_empty(), &here) {
            (false, _) => "wrong",
            (true, Some(_)) => "untried",
            (true, None) => "ok",
        };
        wrong += usize::from(state == "wrong");
        untried += usize::from(state == "untried");
        if cli.json {
            let object = json!({ "v": 1, "type": "check", "script": script.name, "state": state, "faults": faults, "machine": here });
            out += &format!("{object}\n");
            continue;
        }
        out += &format!("{state:<8} {}\n", script.name);
        faults.iter().chain(&here).for_each(|fault| out += &format!("         {fault}\n"));
    }
    if !cli.json {
        let untried =
            if untried == 0 { String::new() } else { format!(", {untried} not to be planned on this machine") };
        out += &format!("{}, {wrong} wrong{untried}\n", counted(scripts.len()));
    }
    put(&out).max(u8::from(wrong > 0))
}
