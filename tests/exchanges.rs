//! Templates dns, http and tls_hello: every exchange of a workload in a network and a control group of its own, exactly.

use serde_json::{Value, json};
use skep_tests::network::Namespace;
use skep_tests::skep::Running;
use skep_tests::{Cgroup, Output, Skep, Workload, privileged};

struct Group(Cgroup);

impl Group {
    fn new() -> Group {
        Group(Cgroup::new())
    }

    /// A script with GROUP for its path runs while the workload does.
    #[track_caller]
    fn watched(&self, script: &str, verbs: &str) -> Output {
        let workload = Workload::stopped(&format!("alone join {} {verbs}", self.0.0.display()));
        let run: Running = Skep::script(&script.replace("GROUP", &self.0.0.display().to_string())).start().attached();
        workload.go();
        run.interrupt().ok()
    }
}

/// Every exchange took as long as was asked for, the fastest at most 5 % longer: a busy machine adds to the others.
#[track_caller]
fn assert_took(milliseconds: f64, value: &Value, output: &Output) {
    let first = |edge: &str| value["buckets"][0][edge].as_f64().unwrap_or_default() / 1e6;
    // A bucket's edges are 1/64 apart.
    assert!(first("high") >= milliseconds && first("low") <= 1.05 * milliseconds, "{output}");
}

const DNS: &str = r#"template("dns", #{ cgroup: "GROUP" })"#;

#[test]
fn dns_queries_are_counted_by_name_type_and_code() {
    privileged!();
    let script = format!("{DNS}.by(role, protocol, name, qtype, rcode, answers, address, server).count()");
    let verbs = "dns udp4 23 WWW.example.org 1 0 dns udp6 7 www.example.org 28 0 dns udp4 5 nx.example 16 0 \
                 dns tcp4 11 fail.example 65 0 dns tcp6 3 www.example.org 28 0";
    let output = Group::new().watched(&script, verbs);
    for role in ["client", "server"] {
        for (key, count) in [
            ("udp www.example.org A NOERROR 2 10.1.2.3 127.0.0.1", 23),
            ("udp www.example.org AAAA NOERROR 2 fd00::7 ::1", 7),
            ("udp nx.example TXT NXDOMAIN 0 :: 127.0.0.1", 5),
            ("tcp fail.example HTTPS SERVFAIL 0 :: 127.0.0.1", 11),
            ("tcp www.example.org AAAA NOERROR 2 fd00::7 ::1", 3),
        ] {
            assert_eq!(output.row(&format!("{role} {key}")), count, "{output}");
        }
    }
    assert_eq!((output.rows().len(), output.trust("unmatched"), output.trust("open")), (10, 0, 0), "{output}");
}

#[test]
fn scripts_take_the_cgroup_of_the_command_line() {
    privileged!();
    let group = Group::new();
    let path = group.0.0.display().to_string();
    let run = Skep::new(&["--format", "json", "run", "dnslatency", "--cgroup", &path]).start().attached();
    Workload::stopped(&format!("join {path} alone dns udp4 23 www.example 1 0")).go();
    let output = run.interrupt().ok();
    let answers = output.table(1)["rows"].clone();
    assert_eq!(answers, json!([{ "key": { "server": "127.0.0.1", "rcode": "NOERROR" }, "value": 23 }]), "{output}");
}

#[test]
fn dns_latency_is_the_time_until_the_answer() {
    privileged!();
    let script = format!("{DNS}.filter(role == \"client\" and qtype == \"A\").quantiles(elapsed)");
    let output = Group::new().watched(&script, "dns udp4 23 www.example 1 40 dns udp4 5 www.example 28 1");
    assert_eq!(output.value()["n"], 23, "{output}");
    assert_took(40.0, &output.value(), &output);
}

#[test]
fn dns_query_without_an_answer_is_open_at_the_end() {
    privileged!();
    let output =
        Group::new().watched(&format!("{DNS}.count()"), "dns udp4 7 lost.example 1 0 dns udp4 3 www.example 1 0");
    // The client's side and the server's.
    assert_eq!((output.trust("open"), output.value().as_u64()), (14, Some(6)), "{output}");
}

#[test]
fn dns_names_of_any_length_are_whole() {
    privileged!();
    let label = "a-label-of-sixty-three-bytes-which-is-the-longest-that-there-is-";
    let long = format!("{0}.{0}.{0}.{1}", &label[..63], &label[..61]);
    let verbs = format!("dns udp4 2 {long} 1 0 dns udp4 3 . 2 0 dns udp4 5 x 1 0");
    let output = Group::new().watched(&format!("{DNS}.filter(role == \"server\").by(name, qtype).count()"), &verbs);
    let rows = [(format!("{long} A"), 2), (". NS".into(), 3), ("x A".into(), 5)];
    for (key, count) in rows {
        assert_eq!(output.row(&key), count, "{output}");
    }
}

#[test]
fn dns_of_an_interface_is_seen_at_tc() {
    privileged!();
    let network = Namespace::new();
    let verbs = format!("enter {} dns udp4 23 www.example 1 0 dns udp6 7 nx.example 28 0", network.file().display());
    let workload = Workload::stopped(&verbs);
    let script = r#"template("dns", #{ interface: "lo" }).by(role, name, rcode).count()"#;
    let run = Skep::script(script).in_network(&network).start().attached();
    workload.go();
    let output = run.interrupt().ok();
    // Of a packet on `lo`, tc sees that it leaves and that it comes.
    for key in ["client www.example NOERROR", "server www.example NOERROR"] {
        assert_eq!(output.row(key), 23, "{output}");
    }
    assert_eq!(output.row("client nx.example NXDOMAIN"), 7, "{output}");
}

const HTTP: &str = r#"template("http", #{ cgroup: "GROUP" })"#;

#[test]
fn http_requests_are_counted_by_path_and_status() {
    privileged!();
    let script = format!("{HTTP}.by(role, method, path, host, status, length).count()");
    let verbs = "http tcp4 23 GET /cart?card=1234 200 0 http tcp6 7 POST /pay 402 0 http tcp4 5 OPTIONS * 204 0 \
                 http tcp4 3 DELETE /gone/ 404 0";
    let output = Group::new().watched(&script, verbs);
    for role in ["client", "server"] {
        let rows = [("GET /cart", 200, 23), ("POST /pay", 402, 7), ("OPTIONS *", 204, 5), ("DELETE /gone/", 404, 3)];
        for (request, status, count) in rows {
            assert_eq!(output.row(&format!("{role} {request} shop.example {status} 5")), count, "{output}");
        }
    }
    assert_eq!((output.rows().len(), output.trust("unmatched"), output.trust("nested")), (8, 0, 0), "{output}");
}

#[test]
fn http_latency_is_the_time_until_the_response() {
    privileged!();
    let script = format!("{HTTP}.filter(role == \"client\").quantiles(elapsed)");
    let output = Group::new().watched(&script, "http tcp4 23 GET / 200 40");
    assert_eq!(output.value()["n"], 23, "{output}");
    assert_took(40.0, &output.value(), &output);
}

/// Each request takes the proxy 20 ms itself, and the server behind it 40.
#[test]
fn proxy_is_told_what_it_adds_itself() {
    privileged!();
    let group = Group::new();
    let workload = Workload::stopped(&format!("alone join {} proxy 23 /cart 20 40", group.0.0.display()));
    let path = group.0.0.display().to_string();
    let words = ["--format", "json", "run", "proxyoverhead", "--port", "8080", "--cgroup", &path];
    let run = Skep::new(&words).start().attached();
    workload.go();
    let output = run.interrupt().ok();
    let [said] = &output.texts()[..] else { panic!("{output}") };
    let added = said.strip_prefix("added: ").and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(said.ends_with("; 23 requests, 1.00 upstream for each"), "{output}");
    let of = |n: usize| output.table(n)["rows"][0]["value"].clone();
    assert_eq!((&of(0)["n"], &of(1)["n"]), (&json!(23), &json!(23)), "{output}");
    assert!(of(0)["min"].as_f64() >= Some(60_000.0) && of(1)["min"].as_f64() >= Some(40_000.0), "{output}");
    // What each took is bounded from below alone, a busy machine adds to it; what the proxy adds is the difference.
    let apart = (of(0)["sum"].as_f64().unwrap_or(0.0) - of(1)["sum"].as_f64().unwrap_or(0.0)) / 23.0;
    assert!(apart >= 20_000.0 && added.is_some_and(|us| (us - apart).abs() < 0.1), "{output}");
}

#[test]
fn http_query_is_shown_only_where_it_is_asked_for() {
    privileged!();
    let script = r#"template("http", #{ cgroup: "GROUP", query: true, port: 8080 }).by(path, sent).count();
        template("http", #{ cgroup: "GROUP", port: 80 }).count()"#;
    let output = Group::new().watched(script, "http tcp4 7 GET /a?b=c 200 0");
    assert_eq!(output.row("/a?b=c 74"), 14, "{output}");
    assert_eq!(output.table(1)["rows"].as_array().map(Vec::len), Some(0), "{output}");
}

#[test]
fn tls_hellos_tell_name_versions_and_choice() {
    privileged!();
    let script = r#"
        template("tls_hello", #{ cgroup: "GROUP" }).by(role, sni, alpn, offered, version, cipher, alert, ciphers).count();
        template("tls_hello", #{ cgroup: "GROUP" }).filter(role == "client").by(legacy, partial).quantiles(elapsed);
    "#;
    let output = Group::new().watched(script, "hello tcp4 23 shop.example 10 hello tcp6 7 unknown.example 10");
    for role in ["client", "server"] {
        let known = format!("{role} shop.example h2 TLSv1.3 TLSv1.3 TLS_AES_256_GCM_SHA384 none 3");
        assert_eq!(output.row(&known), 23, "{output}");
        assert_eq!(
            output.row(&format!("{role} unknown.example h2 TLSv1.3 none none unrecognized_name 3")),
            7,
            "{output}"
        );
    }
    let times = output.table(1)["rows"][0].clone();
    assert_eq!((&times["key"]["legacy"], &times["value"]["n"]), (&"TLSv1.2".into(), &30.into()), "{output}");
    assert_took(10.0, &times["value"], &output);
}

#[test]
fn noise_harms_nothing_and_sound_exchanges_are_counted_all_the_same() {
    privileged!();
    let script = r#"
        template("dns", #{ cgroup: "GROUP" }).filter(name == "www.example").count();
        template("http", #{ cgroup: "GROUP" }).filter(path == "/sound").count();
        template("tls_hello", #{ cgroup: "GROUP" }).filter(sni == "shop.example").count();
        template("dns", #{ cgroup: "GROUP" }).by(name, qtype, rcode, address).count().quiet();
        template("http", #{ cgroup: "GROUP" }).by(path, host, status, length).count().quiet();
        template("tls_hello", #{ cgroup: "GROUP" }).by(sni, alpn, version, offered, cipher, alert).count().quiet();
    "#;
    let sound = "dns udp4 7 www.example 1 0 http tcp4 7 GET /sound 200 0 hello tcp4 7 shop.example 0";
    let output = Group::new().watched(script, &format!("noise 2003 {sound} noise 2003 {sound}"));
    for n in 0..3 {
        assert_eq!(output.table(n)["rows"][0]["value"], 28, "{output}");
    }
    assert_eq!(output.trust("lost"), 0, "{output}");
}

#[test]
fn templates_load_with_every_output_and_parameter() {
    privileged!();
    let (group, network) = (Group::new(), Namespace::new());
    let templates = [
        (
            "dns",
            "name",
            "address, qtype, rcode, answers, retries, size, protocol, truncated",
            ["port: 5353", "port: 1"],
        ),
        ("http", "path", "method, status, sent, length, host, path, role, cgroup", ["port: 8080", "query: true"]),
        (
            "tls_hello",
            "sni",
            "alert, version, offered, legacy, cipher, ciphers, partial, alpn",
            ["port: 8443", "port: 1"],
        ),
    ];
    for (template, text, fields, parameters) in templates {
        let ends = "client, server, client_port, server_port, role, netns, cgroup, elapsed";
        let mut chains: Vec<String> = ["sum", "avg", "min", "max", "stats", "hist", "quantiles"]
            .map(|kind| format!(".by({text}, cpu).{kind}(elapsed)"))
            .into();
        chains.extend([format!(".by({fields}).count()"), format!(".fields({ends})")]);
        chains.push(format!(".by({fields}).heavy(elapsed)"));
        chains.extend([
            ".lhist(elapsed, 0, 100, 10)".into(),
            format!(".filter({text} != \"x\" and role == \"client\").fields({fields})"),
        ]);
        for parameter in parameters {
            let places = [
                (format!("cgroup: {:?}", group.0.0.display().to_string()), &chains[..]),
                ("interface: \"lo\"".to_owned(), &chains[6..9]),
            ];
            for (place, chains) in places {
                for some in chains.chunks(6) {
                    let chain = |chain: &String| {
                        format!("template(\"{template}\", #{{ {place}, {parameter} }}){chain}.quiet();\n")
                    };
                    let script = some.iter().map(chain).collect::<String>() + "run(\"10ms\");";
                    Skep::new(&["-e", &script]).in_network(&network).run().ok();
                }
            }
        }
    }
}

#[test]
fn wrong_places_are_errors() {
    privileged!();
    let script = |place: &str| Skep::new(&["plan", "-e", &format!("template(\"dns\", #{{ {place} }}).count()")]).run();
    for (place, message) in [
        (r#"cgroup: "/no/such""#, "error: no control group `/no/such`"),
        (r#"interface: "nowhere0""#, "error: no interface `nowhere0`"),
        (
            r#"interface: "lo", cgroup: "/""#,
            "error: packets are those of an interface or those of a cgroup's sockets, not both",
        ),
    ] {
        let output = script(place).status_is(1);
        assert!(output.err.starts_with(message), "{output}");
    }
}
