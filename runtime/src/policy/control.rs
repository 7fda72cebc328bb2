//! The control socket of a policy at work: one line of JSON there, one back. For root alone.

use crate::diagnostic::Diagnostic;
use crate::kernel::load::text;
use serde_json::{Value, json};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where sockets lie, unless this variable says otherwise.
const FOLDER: &str = "/run/skep/policy";
const VARIABLE: &str = "SKEP_POLICY_FOLDER";
/// An answer takes no longer, even while rules are exchanged; nor does anybody send more.
const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST: u64 = 256 << 20;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    Status,
    Enforce { within: Option<Duration> },
    Confirm,
    Rollback { all: bool },
    Swap { rules: Value, within: Option<Duration> },
}

impl Request {
    fn written(&self) -> Value {
        let nanos = |within: &Option<Duration>| within.map(|within| within.as_nanos() as u64);
        match self {
            Request::Status => json!({ "do": "status" }),
            Request::Enforce { within } => json!({ "do": "enforce", "within": nanos(within) }),
            Request::Confirm => json!({ "do": "confirm" }),
            Request::Rollback { all } => json!({ "do": "rollback", "all": all }),
            Request::Swap { rules, within } => json!({ "do": "swap", "rules": rules, "within": nanos(within) }),
        }
    }

    pub(crate) fn read(line: &str) -> Option<Request> {
        let mut value: Value = serde_json::from_str(line).ok()?;
        let within = value["within"].as_u64().map(Duration::from_nanos);
        Some(match value["do"].as_str()? {
            "status" => Request::Status,
            "enforce" => Request::Enforce { within },
            "confirm" => Request::Confirm,
            "rollback" => Request::Rollback { all: value["all"].as_bool()? },
            "swap" => Request::Swap { rules: value["rules"].take(), within },
            _ => return None,
        })
    }
}

/// The socket's path for a place: the same name in two network namespaces is two places.
pub fn path(place: &str) -> PathBuf {
    let namespace = fs::metadata("/proc/thread-self/ns/net").map_or(0, |metadata| metadata.ino());
    folder().join(format!("{}@{namespace}.sock", place.replace('/', "+")))
}

fn folder() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| FOLDER.into(), PathBuf::from)
}

/// Makes the folder, for this user alone; where it is there already, it stays as it is.
///
/// # Errors
/// The kernel's.
pub fn make_folder() -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder())
}

/// Sockets of all policies at work, with the place that each is named for.
pub fn all() -> Vec<(String, PathBuf)> {
    let files = fs::read_dir(folder()).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = files.filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".sock")?;
        Some((name.split('@').next()?.replace('+', "/"), path.clone()))
    });
    let mut named: Vec<_> = named.collect();
    named.sort();
    named
}

/// Those that a word means: the policy at that place of this network namespace, those of endpoints of that name, or `all`.
///
/// # Errors
/// A machine diagnostic: none is at work there.
pub fn meant(word: &str) -> Result<Vec<(String, PathBuf)>, Diagnostic> {
    let socket = path(word);
    if UnixStream::connect(&socket).is_ok() {
        return Ok(vec![(word.to_owned(), socket)]);
    }
    let named = |(place, socket): &(String, PathBuf)| match ask(place, socket, &Request::Status) {
        Ok(status) => word == "all" || status["name"] == word,
        // One that was killed leaves its socket behind.
        Err(_) => false,
    };
    let found: Vec<_> = all().into_iter().filter(named).collect();
    if found.is_empty() { Err(nobody(word)) } else { Ok(found) }
}

fn nobody(place: &str) -> Diagnostic {
    let message = match place {
        "all" => "no policy is at work".to_owned(),
        _ => format!("no policy is at work at `{place}`"),
    };
    Diagnostic::machine(message).help("skep policy status")
}

/// The listening end; its file is removed with it.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// # Errors
    /// A machine diagnostic: a policy is at work at this place already, or the folder cannot be written.
    pub fn open(place: &str) -> Result<Control, Diagnostic> {
        let path = path(place);
        if UnixStream::connect(&path).is_ok() {
            return Err(Diagnostic::machine(format!("a policy is at work at `{place}` already"))
                .help(format!("skep policy status {place}; other rules: skep policy swap {place} …")));
        }
        let listen = || {
            make_folder()?;
            // Left behind by one that was killed: nobody listens.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let listener = listen().map_err(|error| {
            Diagnostic::machine(format!("failed to listen at `{}`: {}", path.display(), text(&error)))
                .help("run it with sudo")
        })?;
        Ok(Control { listener, path })
    }

    /// A second handle, for a thread that waits.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // If it stays, nobody answers there: the next one removes it.
        let _stays = fs::remove_file(&self.path);
    }
}

/// Reads one request; who does not speak as skep does gets no answer.
pub fn receive(stream: &UnixStream) -> Option<Request> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line).ok()?;
    Request::read(&line)
}

/// Answers: what was done, or why not.
pub fn answer(mut stream: &UnixStream, result: Result<Value, Diagnostic>) {
    let value = match result {
        Ok(value) => value,
        Err(error) => json!({ "error": error.message, "help": error.help }),
    };
    // Who has gone does not wait for it.
    let _gone = stream.write_all(format!("{value}\n").as_bytes());
}

/// Asks the policy at `place`.
///
/// # Errors
/// A machine diagnostic: none is at work there, or what it says.
pub fn ask(place: &str, socket: &Path, request: &Request) -> Result<Value, Diagnostic> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => nobody(place),
        _ => Diagnostic::machine(format!("failed to reach the policy of `{place}`: {}", text(&error)))
            .help("run it with sudo"),
    })?;
    let mut exchange = || {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{}\n", request.written()).as_bytes())?;
        let mut line = String::new();
        BufReader::new((&stream).take(LONGEST)).read_line(&mut line)?;
        serde_json::from_str::<Value>(&line).map_err(io::Error::other)
    };
    let answer = exchange()
        .map_err(|error| Diagnostic::machine(format!("the policy of `{place}` did not answer: {}", text(&error))))?;
    match answer["error"].as_str() {
        None => Ok(answer),
        Some(message) => {
            let error = Diagnostic::machine(message);
            Err(match answer["help"].as_str() {
                Some(help) => error.help(help),
                None => error,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let within = Some(Duration::from_millis(1500));
        let rules = json!({ "ingress": {} });
        for request in [
            Request::Status,
            Request::Enforce { within },
            Request::Enforce { within: None },
            Request::Confirm,
            Request::Rollback { all: true },
            Request::Swap { rules, within },
        ] {
            assert_eq!(Request::read(&request.written().to_string()), Some(request));
        }
        assert_eq!(Request::read("{}"), None);
    }
}
