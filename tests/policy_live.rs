//! The matrix of cases with real packets: every test of tests/fixtures/policies is a connection, a datagram or an echo
//! request between network namespaces, and becomes what `skep policy check` says of it, by the rule that it names.

#[path = "policy_live/case.rs"]
mod case;
#[path = "policy_live/exchange.rs"]
mod exchange;
#[path = "policy_live/stage.rs"]
mod stage;

use case::Case;
use exchange::{Exchange, answered};
use serde_json::Value;
use skep_tests::privileged;
use stage::{Side, Stage, names_interfaces};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// An answer comes as soon as it can; that none comes is not shown by waiting, but by the counter of the rule.
const PATIENCE: [(&str, Duration); 3] =
    [("allow", Duration::from_secs(10)), ("audit", Duration::from_secs(10)), ("deny", Duration::from_millis(150))];

/// What a case came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Played {
    cases: usize,
    tests: usize,
    exchanges: usize,
}

fn text<'a>(test: &'a Value, key: &str) -> &'a str {
    test[key].as_str().unwrap_or_default()
}

/// A test, between each pair of addresses of one family that its protocol has.
fn exchanges<'a>(stage: &'a Stage, test: &'a Value) -> Vec<Exchange<'a>> {
    let (from, to) = (stage.actor(text(test, "from")), stage.actor(text(test, "to")));
    let (protocol, port) = (text(test, "proto"), test["port"].as_u64().expect("each has one") as u16);
    let (_, patience) = PATIENCE.into_iter().find(|(found, _)| test["found"] == *found).expect("it is one of them");
    let mut exchanges = Vec::new();
    for source in from.addresses.iter().copied() {
        for destination in to.addresses.iter().copied() {
            let fits = match protocol {
                "icmp" => source.is_ipv4(),
                "icmpv6" => source.is_ipv6(),
                _ => true,
            };
            if fits && source.is_ipv4() == destination.is_ipv4() {
                exchanges.push(Exchange { from, to, source, destination, protocol, port, patience });
            }
        }
    }
    exchanges
}

/// The end that decides, and what is counted there: list, rule, direction, figures.
type Counted<'a> = (&'a str, &'static str, &'a str, &'a str, &'static [&'static str]);

/// Where a test leaves a trace: of what no policy has to do with, nowhere.
fn counted(test: &Value) -> Option<Counted<'_>> {
    let direction = test["direction"].as_str()?;
    let place = if direction == "ingress" { text(test, "to") } else { text(test, "from") };
    let rule = test["rule"].as_str().unwrap_or("(no rule)");
    let (list, figures) = match text(test, "found") {
        // What no rule is about passes, and may have met no program.
        "allow" if test["rule"].is_null() => return None,
        "allow" => ("rules", &["passed"][..]),
        "audit" => ("staged", &["would_drop"][..]),
        // In a cgroup the call fails already, and there is no packet.
        _ => ("rules", &["dropped", "refused"][..]),
    };
    Some((place, list, rule, direction, figures))
}

/// Packets, or calls, which have no bytes.
fn counter(figure: &Value) -> u64 {
    figure["packets"].as_u64().or(figure.as_u64()).expect("it is a number")
}

/// Enforces the policies of a case, and does all of its tests at once.
fn play(stage: &Stage, case: &Case) -> Played {
    let run = stage.apply(&case.policies).arguments(&["--format", "json"]).start().attached();
    let of_tests: Vec<_> = case.tests.iter().map(|test| (test, exchanges(stage, test))).collect();
    let (mut all, mut tests) = (Vec::new(), Vec::new());
    for (test, exchanges) in of_tests {
        assert!(!exchanges.is_empty(), "{test}");
        tests.push((test, exchanges.len()));
        all.extend(exchanges);
    }
    let mut answers = answered(&all).into_iter();
    let statuses = run.interrupt().ok().json();
    let mut wanted: BTreeMap<Counted<'_>, u64> = BTreeMap::new();
    for (test, count) in &tests {
        let found: Vec<bool> = answers.by_ref().take(*count).collect();
        let said = vec![test["found"] != "deny"; *count];
        assert_eq!(found, said, "{} `{}`, {:?}: {test}\n{statuses:#?}", case.file, case.name, stage.side());
        if let Some(key) = counted(test) {
            *wanted.entry(key).or_default() += *count as u64;
        }
    }
    for ((place, list, rule, direction, figures), count) in wanted {
        let status = statuses.iter().find(|status| status["name"] == stage.called(place)).expect("it was there");
        let rules = status[list].as_array().expect("it has rules");
        let one = rules.iter().find(|one| one["rule"] == rule && one["direction"] == direction);
        let packets = |figure: &&str| one.map_or(0, |one| counter(&one[*figure]));
        let packets: u64 = figures.iter().map(packets).sum();
        let what = format!("{place} {list} {rule} {direction} {figures:?}");
        assert!(packets >= count, "{} `{}`: {what}: {packets} of {count}\n{status:#}", case.file, case.name);
    }
    Played { cases: 1, tests: tests.len(), exchanges: all.len() }
}

fn play_all(cases: &[Case], side: Side) -> Played {
    let inventory = std::fs::read_to_string(case::fixture("inventory")).expect("it is there");
    let (stage, since) = (Stage::new(&inventory, cases, side), Instant::now());
    let mut sum = Played::default();
    for case in cases {
        let played = play(&stage, case);
        sum.cases += 1;
        sum.tests += played.tests;
        sum.exchanges += played.exchanges;
    }
    println!("{side:?}: {sum:?} in {:?}", since.elapsed());
    sum
}

/// To load programs takes most of the time: a case is played at one side, those of Cilium's table at both. Interfaces that
/// policies name are inside.
fn is_played(case: &Case, number: usize, side: Side) -> bool {
    let inside = names_interfaces(&case.policies) || number.is_multiple_of(2);
    case.file == "deny-table" || inside == (side == Side::Inside)
}

fn of_side(side: Side) -> Vec<Case> {
    let cases = case::all();
    assert_eq!(cases.len(), 95);
    cases
        .into_iter()
        .enumerate()
        .filter(|(number, case)| is_played(case, *number, side))
        .map(|(_, case)| case)
        .collect()
}

/// In each endpoint's namespace.
#[test]
fn every_case_is_what_check_says_inside_of_namespaces() {
    privileged!();
    let cases = of_side(Side::Inside);
    assert_eq!(play_all(&cases, Side::Inside), Played { cases: 52, tests: 159, exchanges: 255 });
}

/// As on a node, where what comes to a pod leaves the host's end of its pair.
#[test]
fn every_case_is_what_check_says_at_the_hosts_side() {
    privileged!();
    let cases = of_side(Side::Host);
    assert_eq!(play_all(&cases, Side::Host), Played { cases: 48, tests: 140, exchanges: 236 });
}
