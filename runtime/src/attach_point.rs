//! Attach points: the places a probe can watch, spelled the way bpftrace spells them. Pure text; no privilege.

use crate::diagnostic::{Diagnostic, nearest};
use crate::kernel::perf::{self, Every};
use std::fmt;

/// One attach point as it was written; names may be globs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AttachPoint {
    Tracepoint {
        category: String,
        name: String,
    },
    RawTracepoint {
        name: String,
    },
    /// A function of the kernel. `function` is a name or glob, `name+offset` or `0xaddress`; `module` is empty where it
    /// was not said.
    Function {
        way: Way,
        module: String,
        function: String,
        returns: bool,
    },
    /// `target` is a path, a command or a library's name; empty: the program of `-p`. `function` is a symbol,
    /// `symbol+offset` or `0xaddress`.
    Uprobe {
        target: String,
        function: String,
        returns: bool,
    },
    /// A probe that the author of a program or library put there. `target` as above; `provider` (empty: any) and `name`
    /// are names or globs.
    Usdt {
        target: String,
        provider: String,
        name: String,
    },
    /// The first of these that the machine has; each with its text.
    FirstOf(Vec<(String, AttachPoint)>),
    /// What passes by the interfaces of a name, glob or list, or by a control group.
    Packets {
        hook: PacketHook,
        target: String,
        /// `None`: both.
        direction: Option<Bound>,
    },
    /// Objects of a kind, as they are when it is attached.
    Iterator {
        target: String,
    },
    /// On every CPU.
    Profile {
        every: Every,
        unit: String,
        count: u64,
    },
    /// On one CPU.
    Interval {
        unit: String,
        count: u64,
    },
    Software {
        event: String,
        period: Option<u64>,
    },
    Hardware {
        event: String,
        period: Option<u64>,
    },
}

/// How a function of the kernel was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// `kprobe`, `kretprobe`: by whatever is cheapest there.
    Any,
    /// `fentry`, `fexit`: by a trampoline or not at all.
    Trampoline,
}

/// Where packets are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketHook {
    Xdp,
    Tc,
    Cgroup,
}

/// Which way a packet goes, seen from the interface or the cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    Ingress,
    Egress,
}

/// What can be probed: long name, short name, spelling, what it is.
pub const PROVIDERS: &[(&str, &str, &str, &str)] = &[
    ("tracepoint", "t", "tracepoint:CATEGORY:NAME", "a static point in the kernel, its fields as `args.NAME`"),
    ("rawtracepoint", "rt", "rawtracepoint:NAME", "the same before its record is made, arguments as `arg0` …"),
    ("kprobe", "k", "kprobe:[MODULE:]FUNCTION[+OFFSET]", "entry of a function of the kernel, `arg0` …"),
    ("kretprobe", "kr", "kretprobe:[MODULE:]FUNCTION", "return of a function, its value as `retval`"),
    ("fentry", "f", "fentry:[MODULE:]FUNCTION", "entry, by its types: `arg0` …; it takes BTF"),
    ("fexit", "fr", "fexit:[MODULE:]FUNCTION", "return, `retval` and the arguments too; it takes BTF"),
    ("uprobe", "u", "uprobe:BINARY:FUNCTION[+OFFSET]", "entry of a function of a program or library, `arg0` …"),
    ("uretprobe", "ur", "uretprobe:BINARY:FUNCTION", "return of a function, its value as `retval`"),
    ("usdt", "U", "usdt:BINARY:[PROVIDER:]NAME", "a probe that a program's author put there, `arg0` …"),
    (
        "iter",
        "it",
        "iter:task | task_file | tcp | …",
        "what is there: every task, open file or socket, once; a script may look once more when its run was ended",
    ),
    ("xdp", "xdp", "xdp:INTERFACE", "packets as they come in, before all else: skep doc flows"),
    ("tc", "tc", "tc:INTERFACE[:ingress|:egress]", "packets that come in and go out"),
    ("cgroup_skb", "cg", "cgroup_skb:PATH[:ingress|:egress]", "packets of the sockets of a control group"),
    ("profile", "p", "profile:hz:N | profile:s|ms|us:N", "timed samples on every CPU"),
    ("interval", "i", "interval:s|ms|us|hz:N", "a timer on one CPU"),
    ("software", "s", "software:EVENT[:PERIOD]", "a counter that the kernel keeps"),
    ("hardware", "h", "hardware:EVENT[:PERIOD]", "a counter of the processor"),
];

/// Providers of bpftrace that this version does not serve.
const NOT_YET: &[&str] = &["watchpoint", "w", "asyncwatchpoint", "aw"];

/// What bpftrace called fentry and fexit before.
const FORMER: [(&str, &str); 2] = [("kfunc", "fentry"), ("kretfunc", "fexit")];

/// Stands between attach points of which the first that exists is meant: `first_of([…])`.
pub const ALTERNATIVES: &str = " | ";

/// Parses one attach point, `tracepoint:sched:sched_switch` or short `t:sched:*`. Short forms become long ones; globs
/// are kept.
///
/// # Errors
/// A script diagnostic at the part that is wrong: unknown provider (with the nearest one), missing or empty part, a
/// number that is none.
pub fn parse(text: &str) -> Result<AttachPoint, Diagnostic> {
    if text.contains(ALTERNATIVES) {
        let parsed = text.split(ALTERNATIVES).map(|one| Ok((one.to_owned(), parse(one)?)));
        return Ok(AttachPoint::FirstOf(parsed.collect::<Result<_, Diagnostic>>()?));
    }
    let (provider, rest) = text.split_once(':').unwrap_or((text, ""));
    let provider = provider.trim();
    let provider = FORMER.iter().find(|(former, _)| *former == provider).map_or(provider, |(_, now)| now);
    let found = PROVIDERS.iter().find(|(long, short, ..)| *long == provider || *short == provider);
    let Some((long, _, spelling, _)) = found else {
        if NOT_YET.contains(&provider) {
            return Err(Diagnostic::script(format!("`{provider}` is not a source of this version"))
                .span(text)
                .help("a tracepoint may show the same: skep list 'tracepoint:*'"));
        }
        let names = PROVIDERS.iter().map(|(long, ..)| *long);
        let help = match nearest(provider, names.clone()) {
            Some(name) => format!("did you mean `{name}:{rest}`?"),
            None => format!("one of {}", names.collect::<Vec<_>>().join(", ")),
        };
        return Err(Diagnostic::script(format!("unknown kind of attach point `{provider}`")).span(provider).help(help));
    };
    let parts: Vec<&str> = rest.split(':').collect();
    let malformed = || Diagnostic::script(format!("attach point `{text}` is incomplete")).span(text).help(*spelling);
    let part =
        |n: usize| parts.get(n).copied().filter(|part| !part.is_empty()).map(str::to_owned).ok_or_else(malformed);
    let no_more_than = |n: usize| if parts.len() > n { Err(malformed()) } else { Ok(()) };
    let number = |n: usize| -> Result<u64, Diagnostic> {
        let digits = part(n)?;
        let bad = || {
            Diagnostic::script(format!("`{digits}` is not a number above zero")).span(digits.as_str()).help(*spelling)
        };
        digits.parse().ok().filter(|number| *number > 0).ok_or_else(bad)
    };
    match *long {
        "tracepoint" => {
            no_more_than(2)?;
            Ok(AttachPoint::Tracepoint { category: part(0)?, name: part(1)? })
        }
        "iter" => {
            no_more_than(1)?;
            Ok(AttachPoint::Iterator { target: part(0)? })
        }
        "xdp" | "tc" | "cgroup_skb" => {
            let (target, direction) = match rest.rsplit_once(':') {
                Some((target, "ingress")) => (target, Some(Bound::Ingress)),
                Some((target, "egress")) => (target, Some(Bound::Egress)),
                _ => (rest, None),
            };
            let hook = match *long {
                "xdp" => PacketHook::Xdp,
                "tc" => PacketHook::Tc,
                _ => PacketHook::Cgroup,
            };
            if target.is_empty() || hook != PacketHook::Cgroup && target.contains(':') {
                return Err(malformed());
            }
            Ok(AttachPoint::Packets { hook, target: target.into(), direction })
        }
        "rawtracepoint" => {
            no_more_than(1)?;
            Ok(AttachPoint::RawTracepoint { name: part(0)? })
        }
        "kprobe" | "kretprobe" | "fentry" | "fexit" => {
            no_more_than(2)?;
            let (module, function) = if parts.len() > 1 { (part(0)?, part(1)?) } else { (String::new(), part(0)?) };
            let way = if long.starts_with('f') { Way::Trampoline } else { Way::Any };
            if (function.starts_with("0x") || function.contains('+')) && *long != "kprobe" {
                return Err(Diagnostic::script(format!("`{long}` takes a whole function, no place in it"))
                    .span(function.as_str())
                    .help(format!("kprobe:{rest}")));
            }
            Ok(AttachPoint::Function { way, module, function, returns: matches!(*long, "kretprobe" | "fexit") })
        }
        "uprobe" | "uretprobe" => {
            // With one part it is the function: the binary is the process's own.
            let (target, function) = rest.rsplit_once(':').unwrap_or(("", rest));
            if function.is_empty() {
                return Err(malformed());
            }
            Ok(AttachPoint::Uprobe { target: target.into(), function: function.into(), returns: *long == "uretprobe" })
        }
        "usdt" => {
            // Its name, the provider, and the binary, from behind: a file's name may hold colons.
            let mut parts = rest.rsplitn(3, ':');
            let name = parts.next().unwrap_or_default();
            let (provider, target) = match (parts.next(), parts.next()) {
                (Some(provider), Some(target)) => (provider, target),
                (target, None) => ("", target.unwrap_or_default()),
                (None, Some(_)) => return Err(malformed()),
            };
            if name.is_empty() || name.contains('/') {
                return Err(malformed());
            }
            Ok(AttachPoint::Usdt { target: target.into(), provider: provider.into(), name: name.into() })
        }
        "profile" | "interval" => {
            no_more_than(2)?;
            let (unit, count) = (part(0)?, number(1)?);
            let every = every(&unit, count).ok_or_else(|| {
                Diagnostic::script(format!("`{unit}` is no unit of time"))
                    .span(unit.as_str())
                    .help("one of hz, s, ms, us")
            })?;
            Ok(match *long {
                "profile" => AttachPoint::Profile { every, unit, count },
                _ => AttachPoint::Interval { unit, count },
            })
        }
        _ => {
            no_more_than(2)?;
            let kind = if *long == "software" { perf::SOFTWARE } else { perf::HARDWARE };
            let event = part(0)?;
            if perf::event(kind, &event).is_none() {
                let names: Vec<&str> = perf::names(kind).collect();
                let help = match nearest(&event, names.iter().copied()) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("one of {}", names.join(", ")),
                };
                return Err(Diagnostic::script(format!("no {long} event `{event}`")).span(event.as_str()).help(help));
            }
            let period = if parts.len() > 1 { Some(number(1)?) } else { None };
            Ok(match *long {
                "software" => AttachPoint::Software { event, period },
                _ => AttachPoint::Hardware { event, period },
            })
        }
    }
}

/// A timer's unit and count as the kernel takes it.
pub fn every(unit: &str, count: u64) -> Option<Every> {
    let nanos = |factor: u64| count.checked_mul(factor).map(Every::Period);
    match unit {
        "hz" => Some(Every::Hertz(count)),
        "s" => nanos(1_000_000_000),
        "ms" => nanos(1_000_000),
        "us" => nanos(1_000),
        _ => None,
    }
}

impl Way {
    /// The name of the attach points that ask for it.
    pub fn provider(self, returns: bool) -> &'static str {
        match (self, returns) {
            (Way::Any, false) => "kprobe",
            (Way::Any, true) => "kretprobe",
            (Way::Trampoline, false) => "fentry",
            (Way::Trampoline, true) => "fexit",
        }
    }
}

impl fmt::Display for AttachPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachPoint::Tracepoint { category, name } => write!(f, "tracepoint:{category}:{name}"),
            AttachPoint::RawTracepoint { name } => write!(f, "rawtracepoint:{name}"),
            AttachPoint::Function { way, module, function, returns } => {
                write!(f, "{}:", way.provider(*returns))?;
                if module.is_empty() { write!(f, "{function}") } else { write!(f, "{module}:{function}") }
            }
            AttachPoint::Uprobe { target, function, returns } => {
                let provider = if *returns { "uretprobe" } else { "uprobe" };
                if target.is_empty() {
                    write!(f, "{provider}:{function}")
                } else {
                    write!(f, "{provider}:{target}:{function}")
                }
            }
            AttachPoint::Usdt { target, provider, name } => {
                let parts =
                    [target, provider].map(|part| if part.is_empty() { String::new() } else { format!("{part}:") });
                // With a provider alone, its place would be the binary's.
                let [target, provider] = parts;
                let gap = if target.is_empty() && !provider.is_empty() { ":" } else { "" };
                write!(f, "usdt:{target}{gap}{provider}{name}")
            }
            AttachPoint::FirstOf(list) => {
                for (n, (_, point)) in list.iter().enumerate() {
                    write!(f, "{}{point}", if n == 0 { "" } else { ALTERNATIVES })?;
                }
                Ok(())
            }
            AttachPoint::Iterator { target } => write!(f, "iter:{target}"),
            AttachPoint::Packets { hook, target, direction } => {
                let provider = match hook {
                    PacketHook::Xdp => "xdp",
                    PacketHook::Tc => "tc",
                    PacketHook::Cgroup => "cgroup_skb",
                };
                let direction = match direction {
                    None => "",
                    Some(Bound::Ingress) => ":ingress",
                    Some(Bound::Egress) => ":egress",
                };
                write!(f, "{provider}:{target}{direction}")
            }
            AttachPoint::Profile { unit, count, .. } => write!(f, "profile:{unit}:{count}"),
            AttachPoint::Interval { unit, count } => write!(f, "interval:{unit}:{count}"),
            AttachPoint::Software { event, period } | AttachPoint::Hardware { event, period } => {
                let provider = if matches!(self, AttachPoint::Software { .. }) { "software" } else { "hardware" };
                write!(f, "{provider}:{event}")?;
                period.map_or(Ok(()), |period| write!(f, ":{period}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_become_long_ones() {
        for (short, long) in [
            ("t:sched:sched_switch", "tracepoint:sched:sched_switch"),
            ("rt:sys_enter", "rawtracepoint:sys_enter"),
            ("k:vfs_*", "kprobe:vfs_*"),
            ("kr:nf_tables:nft_do_chain", "kretprobe:nf_tables:nft_do_chain"),
            ("kfunc:vfs_read", "fentry:vfs_read"),
            ("fr:vfs_read", "fexit:vfs_read"),
            ("u:libc:malloc+4", "uprobe:libc:malloc+4"),
            ("ur:/bin/bash:readline", "uretprobe:/bin/bash:readline"),
            ("U:python3:gc__start", "usdt:python3:gc__start"),
            ("U:/usr/bin/python3:python:gc*", "usdt:/usr/bin/python3:python:gc*"),
            ("U:gc__start", "usdt:gc__start"),
            ("U::python:gc__start", "usdt::python:gc__start"),
            ("p:hz:99", "profile:hz:99"),
            ("i:s:1", "interval:s:1"),
            ("s:faults:100", "software:faults:100"),
        ] {
            assert_eq!(parse(short).unwrap().to_string(), long);
        }
    }

    #[test]
    fn attach_point_with_a_misspelt_provider_names_the_nearest() {
        let error = parse("tracepiont:sched:sched_switch").unwrap_err();
        assert_eq!(error.help.clone().unwrap(), "did you mean `tracepoint:sched:sched_switch`?");
    }

    #[test]
    fn attach_point_with_an_empty_part_is_rejected() {
        for text in [
            "tracepoint:sched",
            "tracepoint::x",
            "profile:hz:0",
            "profile:min:1",
            "software:nothing",
            "uprobe:",
            "usdt:",
            "usdt:/usr/bin/python3",
            "usdt:python3:",
            "kprobe",
            "kprobe:a:b:c",
            "kretprobe:vfs_read+4",
            "fentry:0xffffffff81000000",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
