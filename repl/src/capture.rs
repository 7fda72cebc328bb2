//! `skep capture`: packets by a filter of tcpdump, each a line, or all of them in a file. What captures is a script.

use crate::args::Cli;
use crate::run::{run_unshown, show};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use skep_runtime::diagnostic::{Diagnostic, Position};
use skep_runtime::library::Script;
use skep_runtime::network::filter::Filter;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    interface: String,
    filter: String,
    file: Option<String>,
    hook: &'static str,
    direction: String,
    first: Option<u64>,
    snaplen: Option<u64>,
    rate: Option<u64>,
    burst: Option<u64>,
}

const EXAMPLES: &str = "\
Examples:
  sudo skep capture -i eth0 tcp port 443 and host 10.0.0.7         each packet a line
  sudo skep capture -i eth0 -w out.pcapng --for 10s udp port 53    into a file for Wireshark
  sudo skep capture -i 'veth*' --rate 100 'tcp[tcpflags] & tcp-rst != 0'
  sudo skep capture -i eth0 -w - not port 22 | tshark -r -";

/// Its part of the command line.
pub fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).overrides_with(name)
    };
    let number = |name: &'static str, least: u64, most: u64, help: &'static str| {
        option(name, "N", help).value_parser(value_parser!(u64).range(least..=most))
    };
    let count = |name: &'static str, help: &'static str| number(name, 1, u32::MAX.into(), help);
    Command::new("capture")
        .about("Capture packets by a filter of tcpdump, decided in the kernel: lines, or a file in pcapng")
        .after_help(EXAMPLES)
        .next_help_heading("Capture")
        .arg(
            option("interface", "IF", "packets of these interfaces: a name, a glob, or several with commas between")
                .short('i')
                .required(true),
        )
        .arg(option("write", "FILE", "write them to FILE in pcapng; -: to standard output").short('w'))
        .arg(
            option("direction", "WAY", "only packets that come in, or only those that leave: ingress, egress")
                .value_parser(["ingress", "egress", "both"]),
        )
        .arg(
            Arg::new("xdp")
                .long("xdp")
                .help("at XDP: packets that come in, before the kernel makes a buffer of them")
                .action(ArgAction::SetTrue),
        )
        .arg(count("count", "end when there are N"))
        .arg(number("snaplen", 64, 65535, "keep the first N bytes of each (default 65535)"))
        .arg(count("rate", "keep at most N a second; those beyond are counted"))
        .arg(count("burst", "with --rate: N of them may come at once").requires("rate"))
        .arg(
            Arg::new("filter")
                .value_name("FILTER")
                .help("which ones: pcap-filter(7); the words are joined")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true),
        )
}

impl Wish {
    pub fn of(matches: &ArgMatches) -> Wish {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let number = |name: &str| matches.get_one::<u64>(name).copied();
        let words: Vec<String> = matches.get_many::<String>("filter").into_iter().flatten().cloned().collect();
        Wish {
            interface: text("interface").unwrap_or_default(),
            filter: words.join(" "),
            file: text("write"),
            hook: if matches.get_flag("xdp") { "xdp" } else { "tc" },
            direction: text("direction").unwrap_or_else(|| "both".into()),
            first: number("count"),
            snaplen: number("snaplen"),
            rate: number("rate"),
            burst: number("burst"),
        }
    }

    /// As anybody could write it.
    pub fn script(&self) -> String {
        let mut settings =
            format!("interface: {:?}, hook: {:?}, direction: {:?}", self.interface, self.hook, self.direction);
        for (name, value) in [("snaplen", self.snaplen), ("rate", self.rate), ("burst", self.burst)] {
            if let Some(value) = value {
                settings += &format!(", {name}: {value}");
            }
        }
        let mut script = format!("template(\"capture\", #{{ {settings} }})");
        if !self.filter.trim().is_empty() {
            script += &format!(".filter(tcpdump({:?}))", self.filter);
        }
        match &self.file {
            Some(file) => script += &format!(".pcapng({file:?})"),
            None => script += ".packets()",
        }
        if let Some(first) = self.first {
            script += &format!(".first({first})");
        }
        script
    }
}

pub fn capture(cli: &Cli, wish: &Wish) -> u8 {
    if let Err(fault) = Filter::parse(&wish.filter) {
        let column = wish.filter[..fault.from].chars().count() + 1;
        let error = fault.diagnostic(&wish.filter).at(Some(Position::new(1, column)));
        return show(&error, Some(&Script { name: "filter".into(), text: wish.filter.clone().into() }));
    }
    let packets = ["pid", "comm", "cgroup"];
    let asked = [cli.pid.is_some(), cli.comm.is_some(), cli.cgroup.is_some()];
    if let Some((name, _)) = packets.iter().zip(asked).find(|(_, asked)| *asked) {
        let error =
            Diagnostic::script(format!("packets of an interface are of no process: --{name} cannot choose them"));
        return show(&error.help("skep capture -i eth0 tcp port 443"), None);
    }
    let mut cli = cli.clone();
    // Nothing but the file goes there.
    cli.json &= wish.file.as_deref() != Some("-");
    run_unshown(&cli, &Script { name: "capture".into(), text: wish.script().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(line: &str) -> String {
        let matches = command().try_get_matches_from(line.split(' ')).expect("it is a command line");
        Wish::of(&matches).script()
    }

    #[test]
    fn command_line_becomes_a_script() {
        assert_eq!(
            script("capture -i eth0"),
            r#"template("capture", #{ interface: "eth0", hook: "tc", direction: "both" }).packets()"#
        );
        assert_eq!(
            script("capture -i veth* --xdp -w - --count 7 --snaplen 96 --rate 10 tcp port 80"),
            r#"template("capture", #{ interface: "veth*", hook: "xdp", direction: "both", snaplen: 96, rate: 10 }).filter(tcpdump("tcp port 80")).pcapng("-").first(7)"#
        );
    }
}
