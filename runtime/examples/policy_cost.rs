//! What a policy costs for each packet, by BPF_PROG_TEST_RUN, beside comparators that are written by hand, xdp-filter and a
//! set of nftables where those are installed:
//!
//! ```sh
//! unshare --net --mount policy_cost target/bench/policy.bpf.o 7     # what `cargo xtask bench policy` does
//! … target/bench/policy.bpf.o 7 'addresses, IPv4' FOLDER             # some cases; a `policy.bpf.o` that is tried out
//! ```
//! Prints a line for each sample: kind, case, tool, nanoseconds. Tools take turns. nftables has no program to run: it is
//! measured with live frames, all of which are to be dropped, and so is skep once more.

use skep_runtime::kernel::load::{Request, load};
use skep_runtime::kernel::map::{self, Map, Shape};
use skep_runtime::kernel::network::{self, Hook, Interface, Target};
use skep_runtime::kernel::sys;
use skep_runtime::network::cidr::Cidr;
use skep_runtime::network::protocol::Protocol;
use skep_runtime::policy::enforcer::{Enforcer, Options};
use skep_runtime::policy::place::Place;
use skep_runtime::policy::rules::{Action, Peers, Rule, Rules, Service, Side};
use skep_templates::catalog::Catalog;
use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PREFIX_TRIE: u32 = 11;
const PROGRAM_ARRAY: u32 = 3;
const NO_PREALLOCATION: u32 = 1;
const SOURCES: u32 = 65_536;
const PORT: u16 = 443;

struct Random(u64);

impl Random {
    /// Source: Vigna, splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Global unicast.
    fn address(&mut self, is_v4: bool) -> IpAddr {
        if is_v4 {
            Ipv4Addr::from(self.next() as u32).into()
        } else {
            let high = self.next() >> 3 | 1 << 61;
            Ipv6Addr::from(u128::from(high) << 64 | u128::from(self.next())).into()
        }
    }
}

/// What is denied: prefixes, single addresses, or those with a port.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Prefixes,
    Addresses,
    Tuples,
}

/// What is denied, and where packets come from: half of them from there.
struct Case {
    name: String,
    kind: Kind,
    denied: Vec<Cidr>,
    sources: Vec<IpAddr>,
    is_v4: bool,
}

impl Case {
    fn new(is_v4: bool, count: usize, kind: Kind) -> Case {
        let mut random = Random(count as u64);
        let lengths: &[u8] = match (kind, is_v4) {
            (Kind::Prefixes, true) => &[16, 20, 24, 24, 24, 32],
            (Kind::Prefixes, false) => &[32, 40, 48, 48, 56, 64],
            (_, true) => &[32],
            (_, false) => &[128],
        };
        let prefix = |random: &mut Random| {
            let length = lengths[random.next() as usize % lengths.len()];
            Cidr::of(random.address(is_v4), length).expect("the family has such a length")
        };
        let denied: Vec<Cidr> = (0..count).map(|_| prefix(&mut random)).collect();
        let sources = (0..SOURCES).map(|number| {
            let any = random.address(is_v4);
            let cidr = denied[random.next() as usize % denied.len()];
            if number % 2 == 0 { any } else { within(cidr, any) }
        });
        let sources = sources.collect();
        let what = match kind {
            Kind::Prefixes => "CIDRs",
            Kind::Addresses => "addresses",
            Kind::Tuples => "five-tuples",
        };
        let family = if is_v4 { "IPv4" } else { "IPv6" };
        Case { name: format!("{count} {what}, {family}"), kind, denied, sources, is_v4 }
    }

    fn rules(&self) -> Rules {
        let rule = |peers: Vec<Cidr>| Rule {
            name: "denied".into(),
            action: Action::Deny,
            tier: 0,
            peers: Peers::Prefixes(peers.into_iter().map(Into::into).collect()),
            services: if self.kind == Kind::Tuples {
                vec![Service { protocol: Protocol::TCP, ports: PORT..=PORT }]
            } else {
                Vec::new()
            },
            rate: None,
        };
        // Each its own rule, as in lists that people write.
        let rules = self.denied.iter().map(|cidr| rule(vec![*cidr])).collect();
        Rules { ingress: Side { otherwise: Action::Allow, rules }, egress: Side::default() }
    }

    fn frame(&self, source: IpAddr) -> Vec<u8> {
        let mut frame = vec![2; 12];
        let above =
            [4711u16.to_be_bytes().to_vec(), PORT.to_be_bytes().to_vec(), vec![0; 9], vec![2], vec![0; 6]].concat();
        match source {
            IpAddr::V4(source) => {
                frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
                frame.extend(source.octets());
                frame.extend([192, 0, 2, 1]);
            }
            IpAddr::V6(source) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
                frame.extend(source.octets());
                frame.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            }
        }
        frame.extend(above);
        frame
    }
}

/// An address of the prefix, the rest of it as in `any`.
fn within(cidr: Cidr, any: IpAddr) -> IpAddr {
    match (cidr.address(), any) {
        (IpAddr::V4(first), IpAddr::V4(any)) => {
            let rest = u32::MAX.checked_shr(cidr.length().into()).unwrap_or(0);
            Ipv4Addr::from(u32::from(first) | u32::from(any) & rest).into()
        }
        (IpAddr::V6(first), IpAddr::V6(any)) => {
            let rest = u128::MAX.checked_shr(cidr.length().into()).unwrap_or(0);
            Ipv6Addr::from(u128::from(first) | u128::from(any) & rest).into()
        }
        _ => any,
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    Cidr::host(address).octets()
}

/// The comparators, loaded with the case's prefixes or five-tuples.
struct Comparators {
    programs: HashMap<&'static str, OwnedFd>,
    sources: Map,
    next: Map,
}

impl Comparators {
    fn load(object: &[u8], case: &Case) -> Result<Comparators, Box<dyn Error>> {
        let count = case.denied.len() as u32;
        let shape = |map_type, key_size, value_size, max_entries| Shape { map_type, key_size, value_size, max_entries };
        let prefixes = Map::create_with("prefixes", shape(PREFIX_TRIE, 20, 4, count), NO_PREALLOCATION)?;
        let tuples = Map::create("tuples", shape(map::HASH, 40, 4, count))?;
        for cidr in &case.denied {
            let key = [&u32::from(cidr.length()).to_ne_bytes()[..], &cidr.octets()].concat();
            prefixes.update(&key, &[0; 4])?;
            let frame = case.frame(cidr.address());
            let at = if case.is_v4 { 30..34 } else { 38..54 };
            let mut destination = [0; 16];
            destination[..at.len()].copy_from_slice(&frame[at.clone()]);
            let ports = [4711u16.to_be_bytes(), PORT.to_be_bytes()].concat();
            let tuple = [&cidr.octets()[..], &destination, &ports, &6u32.to_ne_bytes()].concat();
            tuples.update(&tuple, &[0; 4])?;
        }
        let sources = Map::create("sources", shape(map::ARRAY, 4, 16, SOURCES))?;
        let next = Map::create("next", shape(PROGRAM_ARRAY, 4, 4, 1))?;
        let names = ["empty", "trie", "tuple", "other_source"];
        let wanted: Vec<_> = names.iter().map(|name| ((*name).to_owned(), Hook::Xdp.program_kind())).collect();
        let maps = [
            ("prefixes", prefixes),
            ("tuples", tuples),
            ("sources", sources.try_clone()?),
            ("next", next.try_clone()?),
        ];
        let maps = maps.into_iter().map(|(name, map)| (name.to_owned(), map)).collect();
        let request = Request {
            template: "bench",
            object,
            constants: &[],
            slots: &[],
            programs: &wanted,
            module_types: None,
            maps,
        };
        let programs = names.into_iter().zip(load(request)?.programs).collect();
        Ok(Comparators { programs, sources, next })
    }

    /// The program that gives every packet another one of these sources, in front of `program`.
    fn in_front_of(&self, program: &OwnedFd, sources: &[IpAddr]) -> Result<&OwnedFd, Box<dyn Error>> {
        let sources = sources.iter().cycle().take(SOURCES as usize);
        self.sources.fill(&sources.flat_map(|source| octets(*source)).collect::<Vec<u8>>())?;
        self.next.update(&[0; 4], &(program.as_raw_fd() as u32).to_ne_bytes())?;
        Ok(&self.programs["other_source"])
    }
}

fn run(words: &[&str], input: &str) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(words[0]);
    let mut child = command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child.stdin.take().ok_or("it has an input")?.write_all(input.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err(format!("{words:?} failed").into()) }
}

fn is_installed(program: &str) -> bool {
    // xdp-filter knows no --version.
    Command::new(program).arg("help").output().is_ok()
}

/// xdp-filter with the case's addresses: it has nothing else, and room for 10,000. `None`: not for this case.
fn xdp_filter(case: &Case) -> Result<Option<OwnedFd>, Box<dyn Error>> {
    if case.kind != Kind::Addresses || case.denied.len() > 1_000 || !is_installed("xdp-filter") {
        return Ok(None);
    }
    run(
        &["xdp-filter", "load", "--mode", "skb", "--features", if case.is_v4 { "ipv4" } else { "ipv6" }, FILTERED],
        "",
    )?;
    for cidr in &case.denied {
        run(&["xdp-filter", "ip", &cidr.address().to_string(), "--mode", "src"], "")?;
    }
    let ids = network::attached_programs(Hook::Xdp, Target::Interface(&Interface::named(FILTERED)?))?;
    Ok(Some(network::program(*ids.first().ok_or("xdp-filter attached nothing")?)?))
}

/// A set of nftables at the ingress of `lo`. Says whether there is one.
fn nftables(case: &Case) -> Result<bool, Box<dyn Error>> {
    if case.kind == Kind::Tuples || !is_installed("nft") {
        return Ok(false);
    }
    let (kind, word) = if case.is_v4 { ("ipv4_addr", "ip") } else { ("ipv6_addr", "ip6") };
    let list: Vec<String> = case.denied.iter().map(Cidr::to_string).collect();
    // Prefixes lie within each other, which a set of intervals does not take as they are.
    let flags = if case.kind == Kind::Prefixes { "flags interval; auto-merge;" } else { "" };
    let single: Vec<String> = case.denied.iter().map(|cidr| cidr.address().to_string()).collect();
    let elements = if case.kind == Kind::Prefixes { list } else { single }.join(", ");
    let rules = format!(
        "table netdev bench {{\n set denied {{ type {kind}; {flags} elements = {{ {elements} }} }}\n \
         chain early {{ type filter hook ingress device lo priority 0; {word} saddr @denied drop; }}\n}}\n"
    );
    run(&["nft", "-f", "-"], &rules)?;
    Ok(true)
}

/// The best of a few: others use this machine too.
fn best(mut one: impl FnMut() -> std::io::Result<u32>) -> Result<u32, Box<dyn Error>> {
    let mut best = u32::MAX;
    for _ in 0..5 {
        best = best.min(one()?);
    }
    Ok(best)
}

fn nanoseconds(program: &OwnedFd, frame: &[u8]) -> Result<u32, Box<dyn Error>> {
    const PACKETS: u32 = 200_000;
    best(|| Ok(sys::test_run(program.as_fd(), frame, PACKETS)?.1))
}

fn measure(case: &Case, catalog: &Catalog, object: &[u8], repetitions: u32) -> Result<(), Box<dyn Error>> {
    let comparators = Comparators::load(object, case)?;
    let options = Options { tracks: Some(false), ..Options::default() };
    let rules = case.rules();
    let since = Instant::now();
    let enforcer = Enforcer::audit(Place::find(&format!("xdp:{OURS}"))?, &rules, options, catalog)?;
    println!("load\t{}\tskep\t{}", case.name, since.elapsed().as_nanos());
    enforcer.enforce(Some(Duration::from_secs(3600)))?;
    let ours = enforcer.program(Hook::Xdp).ok_or("it has no XDP program")?;
    let by_hand = if case.kind == Kind::Tuples { "tuple" } else { "trie" };
    let empty = &comparators.programs["empty"];
    let filter = xdp_filter(case)?;
    let mut tools = vec![("empty", empty), ("C", &comparators.programs[by_hand]), ("skep", ours)];
    tools.extend(filter.as_ref().map(|filter| ("xdp-filter", filter)));
    let (denied, passed) = (case.frame(case.sources[1]), case.frame(case.sources[0]));
    for _ in 0..repetitions {
        for (tool, program) in &tools {
            println!("denied\t{}\t{tool}\t{}", case.name, nanoseconds(program, &denied)?);
            println!("passed\t{}\t{tool}\t{}", case.name, nanoseconds(program, &passed)?);
            // The kernel does not let a program of other flags call xdp-filter's.
            if *tool == "xdp-filter" {
                continue;
            }
            let random = nanoseconds(comparators.in_front_of(program, &case.sources)?, &denied)?;
            println!("random\t{}\t{tool}\t{random}", case.name);
        }
    }
    if nftables(case)? {
        // The odd ones are denied: what passes would go on and cost more than any look-up.
        let sources: Vec<IpAddr> = case.sources.iter().skip(1).step_by(2).copied().collect();
        for _ in 0..repetitions {
            for (tool, program) in [("nftables", empty), ("skep", ours)] {
                const FRAMES: u32 = 100_000;
                let front = comparators.in_front_of(program, &sources)?;
                let live = best(|| sys::run_live(front.as_fd(), &denied, FRAMES))?;
                println!("live\t{}\t{tool}\t{live}", case.name);
            }
        }
        run(&["nft", "delete", "table", "netdev", "bench"], "")?;
    }
    if filter.is_some() {
        run(&["xdp-filter", "unload", FILTERED], "")?;
    }
    Ok(())
}

/// Interfaces of the network namespace that this runs in, which must be its own.
const OURS: &str = "ours";
const FILTERED: &str = "filtered";

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    let object = std::fs::read(words.get(1).ok_or("policy_cost OBJECT [REPETITIONS [CASES [TEMPLATES]]]")?)?;
    let repetitions = words.get(2).map_or(Ok(1), |word| word.parse())?;
    let wanted = words.get(3).map_or("", String::as_str);
    let mut catalog = Catalog::embedded();
    if let Some(folder) = words.get(4) {
        catalog.add_folder(folder.as_ref())?;
    }
    // Fails where there is one already, as in a namespace that others use.
    run(&["ip", "link", "add", OURS, "type", "veth", "peer", "name", FILTERED], "")?;
    for interface in ["lo", OURS, FILTERED] {
        run(&["ip", "link", "set", interface, "up"], "")?;
    }
    // xdp-filter keeps its maps there.
    run(&["mount", "-t", "bpf", "policy_cost", "/sys/fs/bpf"], "")?;
    for kind in [Kind::Prefixes, Kind::Addresses, Kind::Tuples] {
        for is_v4 in [true, false] {
            for count in [1, 1_000, 100_000] {
                let case = Case::new(is_v4, count, kind);
                if case.name.contains(wanted) {
                    measure(&case, &catalog, &object, repetitions)?;
                }
            }
        }
    }
    Ok(())
}
