//! `skep helper`: runs scripts for people without privilege, as far as the file of permits goes; `skep permit`: that file.

mod carry_out;
pub mod client;

use crate::list::put;
use crate::run::show;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use skep_runtime::confine::capabilities;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::helper::SOCKET;
use skep_runtime::helper::connection::CARRY_OUT;
use skep_runtime::helper::server::{self, Helper};
use skep_runtime::kernel::{identity, load};
use skep_runtime::library::Script;
use skep_runtime::permit::{FILE, Permit, file};
use skep_runtime::report::units;
use std::path::{Path, PathBuf};

const LOG: &str = "/var/log/skep/helper.jsonl";

/// What is asked of the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Serve {
        socket: Option<PathBuf>,
        policy: PathBuf,
        log: PathBuf,
    },
    /// An order on standard input.
    CarryOut,
    /// Is this file of permits right, and what does it say?
    Check(PathBuf),
}

const EXAMPLES: &str = "\
Examples:
  skep doctor --units                                socket and service for systemd
  sudo skep helper --socket /run/skep/helper.sock    without systemd
  skep run opensnoop --for 5s                        anybody: it finds the helper by itself
See docs/privileges.md.";

pub fn helper() -> Command {
    let path = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).value_parser(value_parser!(PathBuf))
    };
    Command::new("helper")
        .about("Run scripts for people without privilege, as far as their permits go")
        .after_help(EXAMPLES)
        .arg(path("socket", "PATH", "listen here; without it, at the socket that systemd hands over"))
        .arg(path("policy", "FILE", "who may do what").default_value(FILE))
        .arg(path("log", "FILE", "a line of JSON for each request, and for its end").default_value(LOG))
        .arg(
            Arg::new("carry-out")
                .long(CARRY_OUT.trim_start_matches('-'))
                .help("carry out what the helper orders")
                .action(ArgAction::SetTrue)
                .hide(true),
        )
}

pub fn permit() -> Command {
    Command::new("permit")
        .about("Who may have the helper do what: the file of permits")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("check")
                .about("Is the file right, and what does it say?")
                .arg(Arg::new("file").value_name("FILE").value_parser(value_parser!(PathBuf)).default_value(FILE)),
        )
}

impl Wish {
    pub fn of(matches: &ArgMatches) -> Wish {
        let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
        match matches.get_flag("carry-out") {
            true => Wish::CarryOut,
            false => Wish::Serve {
                socket: path("socket"),
                policy: path("policy").unwrap_or_else(|| FILE.into()),
                log: path("log").unwrap_or_else(|| LOG.into()),
            },
        }
    }

    pub fn of_permits(matches: &ArgMatches) -> (Wish, &ArgMatches) {
        let matches = matches.subcommand().map_or(matches, |(_, matches)| matches);
        (Wish::Check(matches.get_one::<PathBuf>("file").cloned().unwrap_or_else(|| FILE.into())), matches)
    }
}

pub fn run(wish: &Wish) -> u8 {
    let done = match wish {
        Wish::CarryOut => return carry_out::carry_out(),
        Wish::Check(path) => return check(path),
        Wish::Serve { socket, policy, log } => serve(socket.as_deref(), policy, log),
    };
    done.map_or_else(|error| show(&error, None), |()| 0)
}

fn serve(socket: Option<&Path>, policy: &Path, log: &Path) -> Result<(), Diagnostic> {
    let failed = |what: &str, error: &std::io::Error| Diagnostic::machine(format!("{what}: {}", load::text(error)));
    let listener = match (socket, identity::handed_over()) {
        (Some(path), _) => server::listen(path)?,
        (None, Some(listener)) => listener,
        (None, None) => {
            return Err(Diagnostic::script("nobody hands over a socket")
                .help(format!("sudo skep helper --socket {SOCKET}, or by systemd: skep doctor --units"))
                .nowhere());
        }
    };
    if let Some(folder) = log.parent() {
        // Where it cannot be made, the first line says so.
        let _there = std::fs::create_dir_all(folder);
    }
    // The file itself may be exchanged while runs go on.
    let program = std::env::current_exe().map_err(|error| failed("failed to find skep itself", &error))?;
    capabilities::bound_helper();
    let helper = Helper::new(policy.to_owned(), log.to_owned(), program);
    helper.serve(&listener).map_err(|error| failed("the helper cannot listen any more", &error))
}

fn check(path: &Path) -> u8 {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let error = Diagnostic::script(format!("failed to read `{}`: {}", path.display(), load::text(&error)));
            return show(&error.help("docs/privileges.md has one to begin with"), None);
        }
    };
    let script = Script { name: path.display().to_string(), text: text.clone().into() };
    let permits = match file::parse(&text) {
        Ok(permits) => permits,
        Err(error) => return show(&error, Some(&script)),
    };
    let said: String = permits.iter().map(said).collect();
    let status = put(&said);
    match file::read(path) {
        // The helper would not take it as it lies there.
        Err(error) => show(&error, None),
        Ok(_) => status,
    }
}

/// A permit in words.
fn said(permit: &Permit) -> String {
    let list = |name: &str, of: Vec<String>| {
        let all = if of.is_empty() { "none".to_owned() } else { of.join(", ") };
        format!("  {name:<14} {all}\n")
    };
    let people =
        permit.users.iter().map(ToString::to_string).chain(permit.groups.iter().map(|one| format!("group {one}")));
    let mut scripts = permit.scripts.clone();
    scripts.extend(permit.own_scripts.then(|| "any of their own".to_owned()));
    let whose = if permit.own_processes { "their own processes" } else { "everybody's" };
    let memory = if permit.kernel_memory { "by any expression" } else { "by scripts of the library" };
    let ceilings = format!(
        "{} of a processor, {}, {} of tables, {} attach points, {} at a time",
        permit.max_overhead,
        units::duration(permit.max_time.as_nanos() as i128),
        units::bytes(permit.max_memory),
        permit.max_probes,
        permit.runs
    );
    let policies = if permit.enforcement { vec!["audit and enforce".to_owned()] } else { Vec::new() };
    let lines = [
        format!("line {}: {}\n", permit.line, people.collect::<Vec<_>>().join(", ")),
        list("scripts", scripts),
        list("attach points", permit.attach_points.clone()),
        list("templates", permit.templates.clone()),
        list("events", vec![whose.to_owned()]),
        list("kernel memory", vec![memory.to_owned()]),
        list("policies", policies),
        list("at most", vec![ceilings]),
    ];
    lines.concat()
}
