//! Lines of JSON for front ends: an editor, a web page. One request a line on standard input, one object a line on
//! standard output. docs/repl.md describes them.

use serde_json::{Value as Json, json};
use skep_runtime::diagnostic::Kind;
use skep_runtime::interactive::request::{Answer, Reply, Request};
use skep_runtime::interactive::screen::{Front, Keys};
use skep_runtime::report::units;
use std::io::{self, BufRead, Write};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// A request longer than this is none.
const LONGEST: u64 = 4 << 20;

/// Objects, which are lines already.
pub struct Lines;

fn put(text: &str) {
    let mut out = io::stdout().lock();
    // Whoever does not read any more ends standard input too, and the session with it.
    let _nobody = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

impl Front for Lines {
    fn answer(&mut self, text: &str) {
        put(text);
    }

    fn above(&mut self, text: &str) -> bool {
        // What was left out is said in words; everything else is an object.
        match text.starts_with('{') {
            true => put(text),
            false => put(&format!("{}\n", json!({ "v": 1, "type": "note", "text": text.trim_end() }))),
        }
        true
    }

    fn redraw(&mut self, text: &str, _: usize) {
        put(&format!("{}\n", json!({ "v": 1, "type": "text", "text": text.trim_end() })));
    }

    fn size(&self) -> Option<(usize, usize)> {
        None
    }

    fn keys(&mut self) -> Option<Box<dyn Keys>> {
        None
    }
}

/// Reads requests until their end, in a thread of its own.
pub fn read(sender: UnboundedSender<Request>) {
    let out = sender.clone();
    let spawned = std::thread::Builder::new().name("skep-requests".into()).spawn(move || {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = io::Read::take(&mut input, LONGEST).read_until(b'\n', &mut line);
            if !matches!(read, Ok(1..)) {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            if text.trim().is_empty() {
                continue;
            }
            if let Err((id, message, help)) = request(&text, &sender) {
                put(&format!("{}\n", failed(&id, "script", &format!("error: {message}\n  = help: {help}\n"))));
            }
        }
        let _left = sender.send(Request::Leave);
    });
    if spawned.is_err() {
        let _left = out.send(Request::Leave);
    }
}

fn failed(id: &Json, kind: &str, text: &str) -> Json {
    json!({ "v": 1, "type": "done", "id": id, "ok": false, "kind": kind, "error": text })
}

type Wrong = (Json, String, &'static str);

/// Sends what one line asks for.
fn request(line: &str, sender: &UnboundedSender<Request>) -> Result<(), Wrong> {
    const HELP: &str = r#"{"id": 1, "do": "evaluate", "text": "1 + 1"}"#;
    let asked: Json = serde_json::from_str(line).map_err(|error| (Json::Null, format!("no JSON: {error}"), HELP))?;
    let id = asked.get("id").cloned().unwrap_or_default();
    let wrong = |message: &str, help| (id.clone(), message.to_owned(), help);
    let text = |name: &str| asked.get(name).and_then(Json::as_str).map(str::to_owned);
    let reply = reply(id.clone());
    let request = match text("do").as_deref() {
        Some("evaluate") => {
            let text = text("text").ok_or_else(|| wrong("`evaluate` takes a `text`", HELP))?;
            Request::Line { text, reply }
        }
        Some("complete") => {
            const HELP: &str = r#"{"id": 1, "do": "complete", "text": "probe(\"tracepoint:sch", "at": 21}"#;
            let text = text("text").ok_or_else(|| wrong("`complete` takes a `text`", HELP))?;
            let at = asked.get("at").and_then(Json::as_u64).map_or(text.len(), |at| at as usize);
            if !text.is_char_boundary(at) {
                return Err(wrong("`at` is no place between two characters of the text, in bytes", HELP));
            }
            Request::Complete { text, at, reply }
        }
        Some("jobs") => Request::Jobs { reply },
        Some("subscribe") => {
            const HELP: &str = r#"{"id": 1, "do": "subscribe", "job": 1, "every": "1s"}"#;
            let job =
                asked.get("job").and_then(Json::as_u64).ok_or_else(|| wrong("`subscribe` takes a `job`", HELP))?;
            let every = text("every").unwrap_or_else(|| "1s".to_owned());
            let every = units::parse_duration(&every).filter(|nanos| *nanos >= 50_000_000);
            let every = every.ok_or_else(|| wrong("`every` is a duration of at least 50ms", HELP))?;
            Request::Subscribe { job: job as usize, every: Duration::from_nanos(every), reply }
        }
        Some("interrupt") => {
            // The signal that Ctrl-C is: it ends what the session waits for, and nothing else.
            // SAFETY: a signal to ourselves.
            unsafe { libc::kill(libc::getpid(), libc::SIGINT) };
            reply(Answer::default());
            return Ok(());
        }
        Some("leave") => Request::Leave,
        Some(other) => {
            let message = format!("no request `{other}`");
            return Err(wrong(&message, "one of evaluate, complete, jobs, subscribe, interrupt, leave"));
        }
        None => return Err(wrong("a request says what to `do`", HELP)),
    };
    let _left = sender.send(request);
    Ok(())
}

/// The object that ends a request.
fn reply(id: Json) -> Reply {
    Box::new(move |answer: Answer| {
        let mut done = match &answer.failed {
            None => json!({ "v": 1, "type": "done", "id": id, "ok": true }),
            Some((kind, text)) => {
                let kind = match kind {
                    Kind::Script => "script",
                    Kind::Machine => "machine",
                    Kind::Bug => "bug",
                };
                failed(&id, kind, text)
            }
        };
        if let (Some(data), Json::Object(object)) = (answer.data, &mut done) {
            object.insert("data".into(), data);
        }
        put(&format!("{done}\n"));
    })
}
