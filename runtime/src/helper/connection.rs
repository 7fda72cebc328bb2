//! One request, from its first byte to the last of its answer. The script itself is run by another process; here nothing
//! of it is looked into.

use super::frames::{self, Kind};
use super::log::{clean, head};
use super::order::{self, Told};
use super::request::{Asked, LONGEST, Request};
use super::server::{Helper, Seat};
use crate::diagnostic::Diagnostic;
use crate::kernel::{identity, load::text};
use crate::permit::ceilings::{self, Granted};
use crate::permit::{self, Permit, Person, file};
use crate::policy::control;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);
/// Who does not read for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a run may take for its end, once it was asked to.
const GRACE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
/// The word of the command line that has skep carry out an order.
pub const CARRY_OUT: &str = "--carry-out";

pub struct Connection<'a> {
    helper: &'a Helper,
    stream: &'a UnixStream,
    number: u64,
    pid: u32,
    person: Person,
}

/// How a run ended.
struct End {
    status: u8,
    refused: Option<String>,
    attached: BTreeSet<String>,
}

impl<'a> Connection<'a> {
    pub fn serve(helper: &'a Helper, stream: &'a UnixStream) {
        // Who cannot be told apart is not served.
        let Ok((pid, person)) = identity::peer(stream) else { return };
        let connection = Connection { helper, stream, number: helper.number(), pid, person };
        let (_write, _read) = (stream.set_write_timeout(Some(PATIENCE)), stream.set_read_timeout(Some(ARRIVAL)));
        let mut asked = Map::new();
        match connection.answer(&mut asked) {
            Ok(status) => connection.finish(status),
            Err(error) => {
                // What was asked stands in the same line as why not.
                let mut line = head(connection.number, "refused", connection.pid, &connection.person);
                line.append(&mut asked);
                line.insert("why".into(), clean(&error.message).into());
                let _full = connection.log(line);
                connection.say(&error.render("", ""));
                connection.finish(1);
            }
        }
    }

    /// The exit status of the run.
    fn answer(&self, asked: &mut Map<String, Value>) -> Result<u8, Diagnostic> {
        let busy = || Diagnostic::machine("the helper serves too many already").help("try again in a minute");
        let _connection = Seat::of_connections(self.helper, self.person.uid).ok_or_else(busy)?;
        let request = self.request()?;
        *asked = described(&request);
        let policy = file::read(&self.helper.policy)?;
        let permits = file::parse(&policy).map_err(|error| {
            let check = format!("skep permit check {}", self.helper.policy.display());
            Diagnostic::machine(format!("the file of permits is wrong: {}", error.message)).help(check)
        })?;
        let permit = permit::of(&permits, &self.person).ok_or_else(|| {
            Diagnostic::machine(format!("no permit names user {}", self.person.uid))
                .help(format!("an administrator may add one to {}", permit::FILE))
        })?;
        let granted = ceilings::check(permit, &self.person, &request)?;
        let _run = Seat::of_runs(self.helper, self.person.uid, permit.runs).ok_or_else(|| {
            Diagnostic::machine(format!("{} of your scripts run already, and no more are permitted", permit.runs))
                .help("end one of them")
        })?;
        let mut line = head(self.number, "begin", self.pid, &self.person);
        line.append(&mut asked.clone());
        line.insert("permit".into(), permit.line.into());
        // What cannot be written down does not happen.
        self.log(line).map_err(|error| Diagnostic::machine(format!("the helper's log: {}", text(&error))))?;
        let began = Instant::now();
        let end = self.run(permit, &granted, &policy, &request)?;
        let event = if end.refused.is_some() { "refused" } else { "end" };
        let mut line = head(self.number, event, self.pid, &self.person);
        line.append(asked);
        if let Some(why) = &end.refused {
            line.insert("why".into(), clean(why).into());
        }
        line.insert("attached".into(), end.attached.iter().cloned().collect());
        line.insert("status".into(), end.status.into());
        line.insert("took_ms".into(), (began.elapsed().as_millis() as u64).into());
        let _full = self.log(line);
        Ok(end.status)
    }

    fn request(&self) -> Result<Request, Diagnostic> {
        let wrong = |why: &str| Diagnostic::script(format!("the helper cannot serve this request: {why}")).nowhere();
        let (mut line, until) = (Vec::new(), Instant::now() + ARRIVAL);
        let mut bytes = [0; 16 << 10];
        // Each read has its time, and all of them together: who sends a byte a second is not waited for.
        while !line.ends_with(b"\n") {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return Err(wrong("it did not arrive in time"));
            }
            match (&mut &*self.stream).read(&mut bytes) {
                Ok(0) => return Err(wrong("it has no end")),
                Ok(count) => line.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(wrong("it did not arrive in time")),
            }
            if line.len() as u64 > LONGEST {
                return Err(wrong("it is too long"));
            }
        }
        let line = String::from_utf8(line).map_err(|_| wrong("it is no text"))?;
        Request::read(&line)
    }

    fn run(&self, permit: &Permit, granted: &Granted, policy: &str, request: &Request) -> Result<End, Diagnostic> {
        let failed =
            |error: io::Error| Diagnostic::machine(format!("the helper failed to start skep: {}", text(&error)));
        if permit.enforcement {
            // Root's: who made it could answer for the policies of others.
            control::make_folder().map_err(failed)?;
        }
        let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(&self.helper.program);
        command.args(["helper", CARRY_OUT]).env_clear().current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        // It keeps its end of the pair open for as long as it lives: ours must be the only other one.
        drop(command);
        let order = order::written(&self.person, policy, request);
        if let Err(error) = ours.write_all(format!("{order}\n").as_bytes()) {
            let _ended = (child.kill(), child.wait());
            return Err(failed(error));
        }
        let gone = AtomicBool::new(false);
        let out = Mutex::new(self.stream);
        let (status, told) = std::thread::scope(|scope| {
            let streams: [(Kind, Option<Box<dyn Read + Send>>); 2] = [
                (Kind::Output, child.stdout.take().map(|out| Box::new(out) as _)),
                (Kind::Error, child.stderr.take().map(|err| Box::new(err) as _)),
            ];
            let begin = || {
                for (kind, from) in streams {
                    let (out, gone) = (&out, &gone);
                    Builder::new().spawn_scoped(scope, move || from.map(|from| forward(kind, from, out, gone)))?;
                }
                Builder::new().spawn_scoped(scope, || {
                    // It has said all that it had to say: what comes now is its end.
                    let _time = self.stream.set_read_timeout(None);
                    let _end = (&mut &*self.stream).read(&mut [0]);
                    gone.store(true, Ordering::Relaxed);
                })?;
                Builder::new().spawn_scoped(scope, move || told(&ours))
            };
            let begun = begin();
            let status = match &begun {
                Ok(_) => wait(&mut child, &gone, permit.max_time.min(granted.time)),
                Err(_) => {
                    let _ended = child.kill();
                    wait(&mut child, &gone, Duration::ZERO)
                }
            };
            // Wakes the thread that waits for the client.
            let _closed = self.stream.shutdown(Shutdown::Read);
            begun.map(|gate| (status, gate.join().unwrap_or_default()))
        })
        .map_err(failed)?;
        let mut end = End { status, refused: None, attached: BTreeSet::new() };
        for one in told {
            match one {
                Told::Refused(why) => drop(end.refused.get_or_insert(why)),
                Told::Let(places) => end.attached.extend(places),
            }
        }
        Ok(end)
    }

    fn log(&self, line: Map<String, Value>) -> io::Result<()> {
        self.helper.log.line(line)
    }

    fn say(&self, text: &str) {
        let _gone = frames::write(&mut &*self.stream, Kind::Error, text.as_bytes());
    }

    fn finish(&self, status: u8) {
        let _gone = frames::write(&mut &*self.stream, Kind::Status, &[status]);
        let _gone = self.stream.shutdown(Shutdown::Both);
    }
}

/// What a request asks for, as the log has it.
fn described(request: &Request) -> Map<String, Value> {
    let options: Map<String, Value> =
        request.options.iter().map(|(name, value)| (name.clone(), clean(value).into())).collect();
    let words = clean(&request.words.join(" "));
    let (script, text) = match &request.script {
        Asked::Library(name) => (name, None),
        Asked::Text { called, text } => (called, Some(clean(text))),
    };
    let value = json!({ "script": clean(script), "text": text, "words": words, "options": options });
    match value {
        Value::Object(described) => described,
        _ => Map::new(),
    }
}

/// Hands on what the run prints; who does not take it is gone.
fn forward(kind: Kind, mut from: Box<dyn Read + Send>, out: &Mutex<&UnixStream>, gone: &AtomicBool) {
    let mut bytes = vec![0; 32 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut out: &UnixStream = &out.lock().unwrap_or_else(PoisonError::into_inner);
        if frames::write(&mut out, kind, &bytes[..count]).is_err() {
            gone.store(true, Ordering::Relaxed);
            return;
        }
    }
}

/// What came to the gate of a run.
fn told(from: &UnixStream) -> Vec<Told> {
    /// More than any permit lets through; what comes behind is read, and not kept.
    const MOST: usize = 1 << 16;
    let lines = BufReader::new(from).lines().map_while(Result::ok);
    let mut all = Vec::new();
    lines.filter_map(|line| Told::read(&line)).for_each(|told| {
        if all.len() < MOST {
            all.push(told);
        }
    });
    all
}

/// Waits for the end of a run, and brings it about where its client is gone or its time is over.
fn wait(child: &mut Child, gone: &AtomicBool, time: Duration) -> u8 {
    let began = Instant::now();
    let mut asked: Option<Instant> = None;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return code(status),
            Ok(None) => {}
            Err(_) => return 1,
        }
        let over = gone.load(Ordering::Relaxed) || began.elapsed() > time + GRACE;
        match asked {
            None if over => {
                // SAFETY: our own child, which was not waited for yet.
                let _ended = unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > GRACE => {
                let _ended = child.kill();
            }
            _ => {}
        }
        std::thread::sleep(LOOK);
    }
}

fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)) as u8
}
