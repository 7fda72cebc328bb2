//! Profiles sent to a server that stands in for Pyroscope, on the loopback address.

mod common;

use common::{bytes, profile};
use skep_flamegraphs::push::{Body, Target, send};
use skep_flamegraphs::{fold, pprof};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Takes one request, answers it, and gives it back: its head, and its body.
fn server(answer: &'static str) -> (SocketAddr, JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let handle = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        let mut request = Vec::new();
        let end = loop {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).expect("a request");
            assert_ne!(read, 0, "the request ends early");
            request.extend_from_slice(&part[..read]);
            let head_end = request.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(head_end) = head_end else { continue };
            let head = String::from_utf8_lossy(&request[..head_end]);
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
            let length: usize = length.parse().expect("a number");
            if request.len() == head_end + 4 + length {
                break head_end;
            }
        };
        stream.write_all(answer.as_bytes()).expect("an answer");
        (String::from_utf8_lossy(&request[..end]).into_owned(), request.split_off(end + 4))
    });
    (address, handle)
}

fn target(address: SocketAddr) -> Target {
    Target::new(&format!("http://{address}"), "skep.cpu")
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn pprof_goes_as_two_parts() {
    let (address, server) = server(TAKEN);
    let mut target = target(address);
    target.url.push_str("/pyroscope/");
    target.labels = vec![("env".into(), "test & more".into()), ("host".into(), "ä".into())];
    target.tenant = Some("team-7".into());
    send(&profile(), Body::Pprof, &target).expect("taken");
    let (head, body) = server.join().expect("the server");
    let mut lines = head.lines();
    assert_eq!(
        lines.next(),
        Some(
            "POST /pyroscope/ingest?name=skep.cpu%7Benv%3Dtest%20%26%20more%2Chost%3D%C3%A4%7D\
             &from=1795000000&until=1795000002&spyName=skep&format=pprof HTTP/1.1"
        )
    );
    let head: Vec<&str> = lines.collect();
    assert!(head.contains(&"X-Scope-OrgID: team-7"), "{head:?}");
    let boundary = head.iter().find_map(|line| line.strip_prefix("Content-Type: multipart/form-data; boundary="));
    let boundary = boundary.expect("a boundary");

    let packed = bytes(|out| pprof::write(&profile(), out));
    let at = body.windows(packed.len()).position(|part| part == packed).expect("the profile");
    let before = String::from_utf8_lossy(&body[..at]);
    let after = String::from_utf8_lossy(&body[at + packed.len()..]);
    assert!(
        before.starts_with(&format!("--{boundary}\r\nContent-Disposition: form-data; name=\"profile\"")),
        "{before}"
    );
    assert!(after.ends_with(&format!("\r\n--{boundary}--\r\n")), "{after}");
    let (_, config) = after.split_once("name=\"sample_type_config\"").expect("the second part");
    let config = config.split("\r\n\r\n").nth(1).and_then(|rest| rest.lines().next()).expect("its content");
    let config: serde_json::Value = serde_json::from_str(config).expect("json");
    assert_eq!(config["cpu"]["units"], "samples");
    assert_eq!(config["cpu"]["sampled"], true);
    assert_eq!(config["samples"]["aggregation"], "sum");
}

#[test]
fn folded_goes_as_text() {
    let (address, server) = server(TAKEN);
    send(&profile(), Body::Folded(0), &target(address)).expect("taken");
    let (head, body) = server.join().expect("the server");
    assert!(head.contains("&format=folded&units=samples&aggregationType=sum&sampleRate=99 HTTP/1.1"), "{head}");
    assert_eq!(body, bytes(|out| Ok(fold::write(&profile(), 0, out)?)));
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let answer = "HTTP/1.1 422 Unprocessable Entity\r\nContent-Type: text/plain\r\n\r\n\nno such tenant\u{1b}\nmore\n";
    let (address, server) = server(answer);
    let error = send(&profile(), Body::Folded(0), &target(address)).expect_err("refused").to_string();
    assert_eq!(error, format!("`http://{address}` refused the profile with status 422: no such tenant"));
    server.join().expect("the server");
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut target = target(listener.local_addr().expect("its address"));
    target.timeout = Duration::from_millis(200);
    let start = Instant::now();
    let error = send(&profile(), Body::Pprof, &target).expect_err("no answer").to_string();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(error.starts_with("failed to get an answer from `http://127.0.0.1:"), "{error}");
}

#[test]
fn errors_name_the_address() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    for (url, message) in [
        (
            format!("http://127.0.0.1:{port}"),
            format!("failed to connect to `http://127.0.0.1:{port}`: connection refused"),
        ),
        ("https://x".into(), "`https://x`: https is not spoken here".into()),
        ("localhost:4040".into(), "`localhost:4040` is no address such as `http://127.0.0.1:4040`".into()),
        ("http://".into(), "`http://` is no address such as `http://127.0.0.1:4040`".into()),
        ("http://a b".into(), "`http://a b` is no address".into()),
    ] {
        let error = send(&profile(), Body::Pprof, &Target::new(&url, "a")).expect_err("no server").to_string();
        assert!(error.starts_with(&message), "{error}");
    }
}
