//! `skep repl --json`: a session that a program drives.

use serde_json::{Value, json};
use skep_tests::{privileged, skep, workload};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

struct Session {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Value>,
    last: u64,
}

impl Session {
    fn start() -> Session {
        let mut command = Command::new(skep::binary());
        command.args(["repl", "--json"]).env_remove("SKEP_PATH").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("skep starts");
        let output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let object = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(object).is_err() {
                    break;
                }
            }
        });
        let input = child.stdin.take();
        Session { child, input, output: receiver, last: 0 }
    }

    fn put(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it reads");
        writeln!(input, "{line}").expect("it reads");
    }

    #[track_caller]
    fn next(&self) -> Value {
        self.output.recv_timeout(Duration::from_secs(40)).expect("an object")
    }

    /// Sends a request; gives what came before its end, and its end.
    #[track_caller]
    fn ask(&mut self, mut request: Value) -> (Vec<Value>, Value) {
        self.last += 1;
        request["id"] = self.last.into();
        self.put(&request.to_string());
        let mut before = Vec::new();
        loop {
            let object = self.next();
            assert_eq!(object["v"], 1, "{object}");
            if object["type"] == "done" && object["id"] == self.last {
                return (before, object);
            }
            before.push(object);
        }
    }

    #[track_caller]
    fn evaluate(&mut self, text: &str) -> (Vec<Value>, Value) {
        self.ask(json!({ "do": "evaluate", "text": text }))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[test]
fn line_is_evaluated_and_its_value_and_end_are_objects() {
    let mut session = Session::start();
    let (shown, done) = session.evaluate("40 + 2");
    assert_eq!(shown, [json!({ "v": 1, "type": "text", "text": "42" })]);
    assert_eq!(done, json!({ "v": 1, "type": "done", "id": 1, "ok": true }));
}

#[test]
fn error_says_whose_it_is_and_points_into_the_line() {
    let mut session = Session::start();
    let (_, done) = session.evaluate("print(pdi)");
    assert_eq!((&done["ok"], &done["kind"]), (&json!(false), &json!("script")));
    assert!(done["error"].as_str().unwrap_or_default().contains("did you mean `pid`?"), "{done}");
}

#[test]
fn malformed_requests_are_answered_and_the_session_goes_on() {
    let mut session = Session::start();
    for line in ["nonsense", "[]", "{}", "{\"do\": \"dance\"}", "{\"do\": \"evaluate\"}", "\u{1}\u{2}"] {
        session.put(line);
        let object = session.next();
        assert_eq!((&object["type"], &object["ok"]), (&json!("done"), &json!(false)), "{line}: {object}");
    }
    assert_eq!(session.evaluate("1 + 1").0[0]["text"], "2");
}

#[test]
fn completions_have_a_place_and_what_they_stand_for() {
    let mut session = Session::start();
    let (_, done) = session.ask(json!({ "do": "complete", "text": "prin", "at": 4 }));
    let texts: Vec<&str> =
        done["data"]["candidates"].as_array().into_iter().flatten().filter_map(|one| one["text"].as_str()).collect();
    assert_eq!(done["data"]["start"], 0);
    assert_eq!(texts, ["print(", "printf("]);
}

#[test]
fn jobs_are_listed_subscribed_to_and_interrupted() {
    privileged!();
    let mut session = Session::start();
    let count = "let t = probe(\"t:syscalls:sys_enter_getpgid\").filter(comm == \"json-work\").count()";
    assert_eq!(session.evaluate(count).1["ok"], true);
    let status = Command::new(workload::path()).args(["name", "json-work", "getpgid", "23"]).status();
    assert!(status.is_ok_and(|status| status.success()));
    let (_, jobs) = session.ask(json!({ "do": "jobs" }));
    assert_eq!((&jobs["data"][0]["job"], &jobs["data"][0]["events"]), (&json!(1), &json!(23)), "{jobs}");
    assert_eq!(session.ask(json!({ "do": "subscribe", "job": 1, "every": "100ms" })).1["ok"], true);
    let table = session.next();
    assert_eq!((&table["type"], &table["rows"][0]["value"]), (&json!("table"), &json!(23)), "{table}");
    assert_eq!(session.ask(json!({ "do": "subscribe", "job": 7 })).1["ok"], false);
    // A run without an end is ended by a request.
    session.last += 1;
    session.put(&json!({ "do": "evaluate", "text": "loop { }", "id": 99 }).to_string());
    std::thread::sleep(Duration::from_millis(300));
    session.put(&json!({ "do": "interrupt", "id": 100 }).to_string());
    loop {
        let object = session.next();
        if object["id"] == 99 {
            assert_eq!(object["ok"], false);
            break;
        }
    }
    drop(session.input.take());
    let ended = session.child.wait().expect("it is our child");
    assert!(ended.success());
}
