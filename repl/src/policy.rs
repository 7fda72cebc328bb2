//! `skep policy`: rules for packets, checked as people write them, put in place as an audit, enforced on request, and
//! taken back.

mod apply;
mod check;
mod control;
mod flows;

use crate::args::{Cli, duration};
use crate::audit;
use crate::run::show;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Value as Json, json};
use skep_runtime::policy::control::Request;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Without a kernel: checked, or written.
    Written(check::Wish),
    Apply(apply::Wish),
    /// Of one place, or of all.
    Status(Option<String>),
    Enforce {
        place: String,
        within: Option<Duration>,
    },
    Confirm {
        place: String,
    },
    Rollback {
        place: String,
        all: bool,
    },
    Swap {
        what: apply::What,
        within: Option<Duration>,
    },
}

const EXAMPLES: &str = "\
Examples:
  skep policy check web.yaml --inventory endpoints.yaml          what it would do, and the tests written in it
  sudo skep policy apply web.yaml --inventory endpoints.yaml --ttl 1h
                                                                 an audit: what it would drop is counted, and passes
  sudo skep policy apply web.yaml --inventory endpoints.yaml -o compact
                                                                 and some of what it judges, as flows
  sudo skep policy status web                                    of one endpoint, by its name or its place
  sudo skep policy enforce all --confirm-within 60s              goes back by itself
  sudo skep policy confirm all
  sudo skep policy swap new.yaml --inventory endpoints.yaml      no packet meets half of either
  sudo skep policy rollback all                                  one step back; from the audit, to nothing
See docs/enforcement.md.";

pub fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
    let place =
        || Arg::new("place").value_name("PLACE").help("xdp:IF, tc:IF, veth:IF, cgroup:PATH, an endpoint, or all");
    let time = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("TIME").help(help).value_parser(duration)
    };
    let within = || time("confirm-within", "go back by itself unless it is confirmed within this time");
    let rules = || {
        let rules = Arg::new("rules").long("rules").value_name("FILE").value_parser(value_parser!(PathBuf));
        rules.help("the rules, as JSON, for one place")
    };
    Command::new("policy")
        .about("Rules for packets at XDP, tc and control groups: audit, enforce, go back")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(check::commands())
        .subcommand(
            Command::new("apply")
                .about("Put policies in place, for as long as this runs; as an audit unless --enforce is given")
                .arg(check::file("files", "policies; with --rules, the place").num_args(1..))
                .arg(check::inventory())
                .arg(rules().conflicts_with("inventory"))
                .arg(flag("partial", "leave out what nothing here enforces").conflicts_with("rules"))
                .arg(flag("enforce", "drop what the rules deny"))
                .arg(within().requires("enforce"))
                .arg(time("ttl", "end after this time"))
                .arg(flag("pin", "stay beyond this process, until --ttl is over").requires("ttl"))
                .arg(flows::argument().conflicts_with("pin"))
                .arg(flag("stateless", "judge replies by the rules too").conflicts_with("stateful"))
                .arg(flag("stateful", "let replies pass, also at XDP"))
                .arg(
                    Arg::new("guard")
                        .long("guard")
                        .value_name("ADDRESS")
                        .help("never drop this address; the peer of this session is never dropped anyway")
                        .value_parser(value_parser!(IpAddr))
                        .action(ArgAction::Append),
                )
                .arg(flag("no-guard", "drop the peer of this session too").requires("yes-lock-me-out"))
                .arg(flag("yes-lock-me-out", "yes, really").requires("no-guard")),
        )
        .subcommand(Command::new("status").about("What policies are at work, and what they have done").arg(place()))
        .subcommand(Command::new("enforce").about("Drop what the rules deny").arg(place().required(true)).arg(within()))
        .subcommand(Command::new("confirm").about("Keep what was enforced or exchanged").arg(place().required(true)))
        .subcommand(
            Command::new("rollback")
                .about("Go one step back; from the first, to nothing")
                .arg(place().required(true))
                .arg(flag("all", "to nothing at once")),
        )
        .subcommand(
            Command::new("swap")
                .about("Exchange policies at once: each packet meets all of the old or all of the new ones")
                .arg(check::file("files", "policies; with --rules, the place").num_args(1..))
                .arg(check::inventory())
                .arg(rules().conflicts_with("inventory"))
                .arg(flag("partial", "leave out what nothing here enforces").conflicts_with("rules"))
                .arg(within()),
        )
}

impl Wish {
    /// What is asked for, and the arguments that it has.
    pub fn of(matches: &ArgMatches) -> (Wish, &ArgMatches) {
        let (verb, matches) = matches.subcommand().unwrap_or(("status", matches));
        let named = matches.try_get_one::<String>("place").ok().flatten().cloned();
        let place = named.clone().unwrap_or_default();
        let within = matches.try_get_one::<Duration>("confirm-within").ok().flatten().copied();
        let wish = match verb {
            "check" | "suggest" => Wish::Written(check::Wish::of(verb, matches)),
            "apply" => Wish::Apply(apply::Wish::of(matches)),
            "enforce" => Wish::Enforce { place, within },
            "confirm" => Wish::Confirm { place },
            "rollback" => Wish::Rollback { place, all: matches.get_flag("all") },
            "swap" => Wish::Swap { what: apply::What::of(matches), within },
            _ => Wish::Status(named),
        };
        (wish, matches)
    }

    /// What it changes, as the audit log has it; `None`: nothing.
    fn put(&self) -> Option<Json> {
        let at = |verb: &str, place: &str| Some(json!({ "what": format!("policy {verb}"), "at": [place] }));
        match self {
            Wish::Written(_) | Wish::Status(_) => None,
            Wish::Apply(wish) => Some(wish.put()),
            Wish::Enforce { place, .. } => at("enforce", place),
            Wish::Confirm { place } => at("confirm", place),
            Wish::Rollback { place, .. } => at("rollback", place),
            Wish::Swap { what, .. } => Some(json!({ "what": "policy swap", "files": what.noted() })),
        }
    }
}

pub fn policy(cli: &Cli, wish: &Wish) -> u8 {
    let audit = match wish.put() {
        Some(what) => match audit::begun(cli, what) {
            Ok(audit) => audit,
            Err(diagnostic) => return show(&diagnostic.nowhere(), None),
        },
        None => None,
    };
    let done = match wish {
        Wish::Written(wish) => Ok(check::run(cli, wish)),
        Wish::Apply(wish) => apply::apply(cli, wish),
        Wish::Status(place) => control::status(cli, place.as_deref()),
        Wish::Enforce { place, within } => control::ask(cli, place, &Request::Enforce { within: *within }),
        Wish::Confirm { place } => control::ask(cli, place, &Request::Confirm),
        Wish::Rollback { place, all } => control::ask(cli, place, &Request::Rollback { all: *all }),
        Wish::Swap { what, within } => control::swap(cli, what, *within),
    };
    audit::done(audit.as_ref(), &done);
    done.unwrap_or_else(|diagnostic| show(&diagnostic.nowhere(), None))
}
