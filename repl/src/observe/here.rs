//! Here: what the command line says of flows of this machine, and how they are started.

use super::tell;
use crate::args::Cli;
use clap::{Arg, ArgMatches, value_parser};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::load::text;
use skep_runtime::library::Script;
use skep_runtime::live::asked::{Asked, Drops};
use skep_runtime::live::neighbours::Neighbours;
use skep_runtime::live::source::{Live, Tell};
use skep_runtime::machine::Machine;
use skep_runtime::network::hubble::flow_filter::FlowFilter;
use skep_runtime::network::source::Source;
use skep_runtime::network::time::Time;
use skep_runtime::policy::inventory::Inventory;
use skep_runtime::prepare::{self, Restrict};
use skep_runtime::session::Sizes;
use std::path::PathBuf;
use std::time::Duration;

/// As it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    interfaces: Option<String>,
    hook: Option<String>,
    direction: Option<String>,
    drops: String,
    inventory: Option<PathBuf>,
}

pub fn arguments() -> [Arg; 5] {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        let arg = Arg::new(name).value_name(value).help(help).overrides_with(name);
        arg.conflicts_with("input-file")
    };
    [
        option(
            "at",
            "IF[,IF]",
            "packets of these interfaces, names or globs (default: all; --cgroup PATH: of its sockets)",
        )
        .short('i'),
        option("hook", "HOOK", "where packets are met: tc (default), or xdp, which meets those that come in alone")
            .long("hook")
            .value_parser(["tc", "xdp"]),
        option("direction", "WAY", "ingress, egress or both (default)")
            .long("direction")
            .value_parser(["ingress", "egress", "both"]),
        option("drops", "WHEN", "packets that the kernel throws away: auto (default: where it tells), always or never")
            .long("drops")
            .value_parser(["auto", "always", "never"]),
        option("inventory", "FILE", "names and labels of endpoints, by address, cgroup or namespace (docs/policy.md)")
            .long("inventory")
            .value_parser(value_parser!(PathBuf)),
    ]
}

impl Here {
    pub fn of(matches: &ArgMatches) -> Here {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        Here {
            interfaces: text("at"),
            hook: text("hook"),
            direction: text("direction"),
            drops: text("drops").unwrap_or_default(),
            inventory: matches.get_one::<PathBuf>("inventory").cloned(),
        }
    }

    /// Flows of this machine from now on.
    pub fn source(
        &self,
        cli: &Cli,
        until: Option<Time>,
        allow: Vec<FlowFilter>,
        deny: Vec<FlowFilter>,
    ) -> Result<Box<dyn Source>, Diagnostic> {
        if cli.machine.is_some() || cli.btf.is_some() {
            return Err(Diagnostic::script("flows are those of the machine that is here").help("skep observe -i eth0"));
        }
        let asked = Asked {
            interfaces: self.interfaces.clone(),
            cgroup: cli.cgroup.clone(),
            hook: self.hook.clone(),
            direction: self.direction.clone(),
            drops: match self.drops.as_str() {
                "always" => Drops::Always,
                "never" => Drops::Never,
                _ => Drops::Auto,
            },
            allow,
            deny,
        };
        let (catalog, machine, sizes) = (crate::run::catalog(cli)?, Machine::live(), Sizes::default());
        let restrict = Restrict { pid: cli.pid, comm: cli.comm.clone(), ..Restrict::default() };
        let here = prepare::Here { catalog: &catalog, machine: &machine, restrict: &restrict };
        let sizes = Sizes { ring: cli.ring.unwrap_or(sizes.ring), ..sizes };
        let inventory = self.inventory.as_ref().map(read).transpose()?;
        let neighbours = Neighbours::here(inventory.as_ref())?;
        let quiet = cli.quiet;
        let tell: Tell = Box::new(move |line| {
            if !quiet {
                tell(line)
            }
        });
        let longest = longest(cli.longest, until)?;
        Ok(Box::new(Live::start(&asked, here, sizes, longest, neighbours, tell)?))
    }
}

/// The sooner of both ends.
fn longest(longest: Option<Duration>, until: Option<Time>) -> Result<Option<Duration>, Diagnostic> {
    let Some(until) = until else { return Ok(longest) };
    let left = until.0.checked_sub(Time::now().0).map(Duration::from_nanos);
    let Some(left) = left else {
        return Err(Diagnostic::script("`--until` is over, and flows of this machine are those from now on")
            .help("--for 10s, or a later time"));
    };
    Ok(Some(longest.map_or(left, |longest| longest.min(left))))
}

fn read(path: &PathBuf) -> Result<Inventory, Diagnostic> {
    let unread = |error| Diagnostic::script(format!("failed to read `{}`: {}", path.display(), text(&error)));
    let yaml = std::fs::read_to_string(path).map_err(unread)?;
    let script = Script { name: path.display().to_string(), text: yaml.clone().into() };
    Inventory::parse(&yaml).map_err(|error| error.within(&script))
}
