use super::*;
use crate::network::hubble::Response;
use crate::network::hubble::filter::Filters;

/// Of flows.jsonl: which lines (from 1) pass the flags.
fn passing(flags: &str) -> Vec<usize> {
    let filters = filters(flags).unwrap_or_else(|error| panic!("{flags}: {error}"));
    let lines = include_str!("../../../../../tests/fixtures/hubble/flows.jsonl").lines();
    let wanted = lines.zip(1..).filter(|(line, _)| {
        let response = Response::parse(line, &mut Vec::new()).expect("it is a line");
        response.flow.is_some() && filters.want_line(&response)
    });
    wanted.map(|(_, number)| number).collect()
}

fn filters(line: &str) -> Result<Filters, Diagnostic> {
    let mut flags = Flags::default();
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        let flag = FLAGS.iter().find(|flag| Some(flag.name) == word.strip_prefix("--"));
        let flag = flag.unwrap_or_else(|| panic!("{word} is no flag"));
        let value = if flag.value.is_empty() { "" } else { words.next().unwrap_or_default() };
        flags.set(flag.name, value)?;
    }
    let (allow, deny) = flags.filters()?;
    Filters::new(&allow, &deny)
}

/// 1 policy verdict, TCP; 2 drop, UDP; 4 trace of a reply, VXLAN; 5 http; 6 dns; 7 ICMPv6; 8 socket; 9 audit.
#[test]
fn flags_choose_flows() {
    let cases: &[(&str, &[usize])] = &[
        ("", &[1, 2, 4, 5, 6, 7, 8, 9]),
        ("--verdict DROPPED", &[1, 2]),
        ("--verdict DROPPED --verdict AUDIT", &[1, 2, 9]),
        ("--verdict DROPPED --protocol udp", &[2]),
        ("--not --verdict DROPPED", &[4, 5, 6, 7, 8, 9]),
        ("--verdict DROPPED --not --protocol udp", &[1]),
        // What is turned around is one filter, too: both have to hold of what is left out.
        ("--not --verdict DROPPED --not --protocol tcp", &[2, 4, 5, 6, 7, 8, 9]),
        ("--ip 10.9.0.3", &[1, 2, 4, 5, 6, 8, 9]),
        ("--from-ip 10.9.0.3", &[4, 5]),
        ("--to-ip 10.9.0.0/24", &[1, 2, 4, 5, 6, 8, 9]),
        ("--ip fd00::/8", &[7]),
        ("--ipv6", &[7]),
        ("--ip-version none", &[]),
        ("--snat-ip 192.0.2.1", &[9]),
        ("--port 53", &[2, 6]),
        ("--port 50-60", &[2, 6]),
        ("--from-port 80 --to-port 41234", &[4, 5]),
        ("--protocol icmp", &[7]),
        ("--protocol dns --protocol http", &[5, 6]),
        ("--tcp-flags syn", &[1, 4, 9]),
        ("--tcp-flags syn,ack", &[4]),
        ("--type drop", &[2]),
        ("--type trace:to-endpoint", &[4]),
        ("--type trace:to-proxy", &[]),
        ("--type l7 --http-status 5+", &[5]),
        ("--http-status 404", &[]),
        ("--http-method get --http-path ^/sh.p$", &[5]),
        ("--http-url q=1", &[5]),
        ("--http-header X-Id:7", &[5]),
        ("--drop-reason-desc POLICY_DENY", &[1]),
        ("--traffic-direction egress", &[6, 8, 9]),
        ("--label app=web", &[1, 4, 5, 8, 9]),
        ("--from-label app=web", &[4, 5]),
        ("--label reserved:world", &[2]),
        ("--identity world", &[2]),
        ("--to-identity 4712", &[1, 2]),
        ("--pod shop/web", &[4, 5, 9]),
        ("--pod web", &[]),
        ("--namespace shop", &[4, 5, 9]),
        ("--to-namespace shop --to-pod web", &[9]),
        ("--from-all-namespaces", &[4, 5]),
        ("--service shop/", &[8]),
        ("--workload Deployment/web", &[9]),
        ("--to-fqdn *.example", &[6]),
        ("--node-name n*", &[1, 2, 4, 5, 6, 7, 8, 9]),
        ("--node-name default/n2", &[]),
        ("--cluster default", &[1, 2, 4, 5, 6, 7, 8, 9]),
        ("--to-cluster west", &[9]),
        ("--interface eth0", &[2]),
        ("--uuid 6f2d2c0e-8c55-4b6e-9f0b-1d1f7a3c9b01", &[1]),
        ("--trace-id 4bf92f35", &[5]),
        ("--ip-trace-id 7", &[7]),
        ("--encrypted", &[9]),
        ("--unencrypted --verdict AUDIT", &[]),
    ];
    for (flags, lines) in cases {
        assert_eq!(passing(flags), *lines, "{flags}");
    }
}

#[test]
fn flags_that_cannot_be_are_refused_with_what_would_do() {
    let cases = [
        ("--verdict DROPED", "`DROPED` is no verdict", "DROPPED"),
        ("--type tracy", "`tracy` is no type of event", "trace"),
        ("--tcp-flags syn,akc", "`akc` is no flag of TCP", "syn, ack, fin, rst, psh, urg, ece, cwr or ns"),
        ("--ip 10.0.0.1/8", "`10.0.0.1/8` has bits set behind its prefix", "10.0.0.0/8"),
        ("--port http", "`http` is no port", "8080, or 8000-8999"),
        ("--ip 10.0.0.1 --pod a", "`--pod` and `--ip` cannot be combined", "--pod alone, or --not before one of them"),
        ("--ip 10.0.0.1 --not", "behind `--not` there is no filter", "--not --ip 10.0.0.1"),
        ("--not --not --ip 10.0.0.1", "`--not` stands twice in a row", "--not --ip 10.0.0.1"),
        ("--to-namespace a --to-pod b/c", "`b/c` is not in namespace `a`", "--namespace b"),
        ("--type drop --http-status 404", "filters of HTTP match events of type `l7` only", "--type l7"),
    ];
    for (flags, message, help) in cases {
        let error = filters(flags).err().unwrap_or_else(|| panic!("{flags} is right"));
        assert_eq!((error.message.as_str(), error.help.as_deref()), (message, Some(help)), "{flags}");
    }
    assert!(filters("--cel-expression _flow.verdict==1").is_err() && filters("--http-path (").is_err());
}

#[test]
fn filters_in_json_are_those_of_flow_proto() {
    let parsed = FlowFilter::parse(r#"{"source_ip":["10.9.0.0/24"]}{"verdict":["AUDIT",2],"ip_trace_id":["7"]}"#);
    assert_eq!(parsed.map(|filters| filters.len()), Ok(2));
    let error = |text: &str| FlowFilter::parse(text).expect_err(text).message.clone();
    assert_eq!(error(r#"{"sorce_ip":[]}"#), "a filter has no member `sorce_ip`");
    assert_eq!(error(r#"{"verdict":["DROPED"]}"#), "`verdict` wants a name of Verdict, got `\"DROPED\"`");
    assert!(error("{").starts_with("`{` is no filter"));
    assert_eq!(error(""), "a filter is empty");
}
