//! Sends profiles to Pyroscope, `POST /ingest`, over plain HTTP. The standard library's sockets do: no dependency.

use crate::error::Error;
use crate::fold;
use crate::pprof;
use crate::profile::Profile;
use serde_json::{Map, json};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where to, and under which name.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http://127.0.0.1:4040`, with a path where the server has one in front.
    pub url: String,
    /// The application's name.
    pub app: String,
    /// (`env`, `prod`)
    pub labels: Vec<(String, String)>,
    /// Who asks, for servers of many tenants: the header `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// Of connecting, and of each wait for the server.
    pub timeout: Duration,
}

impl Target {
    /// Ten seconds' patience, no labels.
    pub fn new(url: &str, app: &str) -> Target {
        let timeout = Duration::from_secs(10);
        Target { url: url.into(), app: app.into(), labels: Vec::new(), tenant: None, timeout }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// All types of values, labels, addresses.
    Pprof,
    /// The values of one type.
    Folded(usize),
}

/// Sends one profile, and returns once the server has taken it.
///
/// # Errors
/// A URL that is none, or is https; no connection; no answer in time; an answer that is not a success, with its text.
pub fn send(profile: &Profile, body: Body, target: &Target) -> Result<(), Error> {
    let address = Address::parse(&target.url)?;
    let (kind, content) = content(profile, body)?;
    let mut head = format!(
        "POST {}/ingest?{} HTTP/1.1\r\nHost: {}\r\nUser-Agent: skep/{}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n",
        address.path,
        query(profile, body, target),
        address.authority,
        env!("CARGO_PKG_VERSION"),
        content.len(),
    );
    if let Some(tenant) = &target.tenant {
        if tenant.chars().any(char::is_control) {
            return Err(Error::new(format!("`{}` is no name of a tenant", tenant.escape_default())));
        }
        head.push_str(&format!("X-Scope-OrgID: {tenant}\r\n"));
    }
    head.push_str("\r\n");
    let failed = |what: &str, error: std::io::Error| {
        let error = error.to_string().to_lowercase();
        Error::new(format!("failed to {what} `{}`: {error}", target.url))
    };
    let mut stream = address.connect(target.timeout).map_err(|error| failed("connect to", error))?;
    stream.write_all(head.as_bytes()).map_err(|error| failed("send to", error))?;
    stream.write_all(&content).map_err(|error| failed("send to", error))?;
    let mut answer = Vec::new();
    // An answer's first line and the start of its text are all that is looked at.
    stream.take(16 << 10).read_to_end(&mut answer).map_err(|error| failed("get an answer from", error))?;
    judge(&String::from_utf8_lossy(&answer), &target.url)
}

fn judge(answer: &str, url: &str) -> Result<(), Error> {
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.split_ascii_whitespace().nth(1));
    match status {
        Some(status) if status.starts_with('2') => Ok(()),
        Some(status) => {
            let text = answer.split_once("\r\n\r\n").map_or("", |(_, text)| text);
            let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it gave no reason");
            let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
            Err(Error::new(format!("`{url}` refused the profile with status {status}: {line}")))
        }
        None => Err(Error::new(format!("what answers at `{url}` does not speak http"))),
    }
}

/// The content's type, and the content.
fn content(profile: &Profile, body: Body) -> Result<(String, Vec<u8>), Error> {
    let mut content = Vec::new();
    let value = match body {
        Body::Folded(value) => value,
        Body::Pprof => {
            let mut packed = Vec::new();
            pprof::write(profile, &mut packed)?;
            let types = sample_types(profile);
            let parts = [("profile", &*packed), ("sample_type_config", types.as_bytes())];
            for (name, part) in parts {
                write!(
                    content,
                    "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
                     Content-Type: application/octet-stream\r\n\r\n"
                )?;
                content.extend_from_slice(part);
                content.extend_from_slice(b"\r\n");
            }
            write!(content, "--{BOUNDARY}--\r\n")?;
            return Ok((format!("multipart/form-data; boundary={BOUNDARY}"), content));
        }
    };
    fold::write(profile, value, &mut content)?;
    Ok(("text/plain".into(), content))
}

/// Long enough that no packed profile holds it by chance.
const BOUNDARY: &str = "skep-part-8c1f60b2e94d47a3b5d07f2a6e31c908";

/// What Pyroscope has to know of types that it does not know by name.
fn sample_types(profile: &Profile) -> String {
    let mut types = Map::new();
    for of in &profile.types {
        let (units, sampled) = match of.unit.as_str() {
            "bytes" => ("bytes", false),
            "nanoseconds" | "count" if profile.period.is_some() => ("samples", true),
            _ => ("objects", false),
        };
        let config = json!({ "units": units, "aggregation": "sum", "display-name": of.kind, "sampled": sampled });
        types.insert(of.kind.clone(), config);
    }
    json!(types).to_string()
}

fn query(profile: &Profile, body: Body, target: &Target) -> String {
    let labels: Vec<String> = target.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let name = if labels.is_empty() { target.app.clone() } else { format!("{}{{{}}}", target.app, labels.join(",")) };
    let from = profile.started.unwrap_or_else(|| SystemTime::now() - profile.duration);
    let until = from + profile.duration;
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // Both are whole seconds; a range of none would hold nothing.
    let (from, until) = (seconds(from), seconds(until).max(seconds(from) + 1));
    let name = escape(&name);
    let query = format!("name={name}&from={from}&until={until}&spyName=skep");
    match body {
        Body::Pprof => format!("{query}&format=pprof"),
        Body::Folded(value) => {
            let units = match profile.types.get(value).map(|of| of.unit.as_str()) {
                Some("bytes") => "bytes",
                _ => "samples",
            };
            let rate = match &profile.period {
                Some((of, period)) if of.unit == "nanoseconds" && *period > 0 => (1_000_000_000 / period).max(1),
                _ => 100,
            };
            format!("{query}&format=folded&units={units}&aggregationType=sum&sampleRate={rate}")
        }
    }
}

/// Percent-encoding of all that is not plain in a query.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") }).collect()
}

/// A URL's parts.
struct Address {
    /// `host` or `host:port`, as the header `Host` has it.
    authority: String,
    path: String,
}

impl Address {
    fn parse(url: &str) -> Result<Address, Error> {
        if url.starts_with("https://") {
            return Err(Error::new(format!(
                "`{url}`: https is not spoken here; name an http address, such as an agent's"
            )));
        }
        let rest = url.strip_prefix("http://").filter(|rest| !rest.contains(char::is_whitespace) && rest.is_ascii());
        let (authority, path) = rest.map(|rest| rest.split_once('/').unwrap_or((rest, ""))).unwrap_or_default();
        if authority.is_empty() || authority.contains('@') || path.contains(['?', '#']) {
            return Err(Error::new(format!("`{url}` is no address such as `http://127.0.0.1:4040`")));
        }
        let path = path.trim_end_matches('/');
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Address { authority: authority.to_owned(), path })
    }

    fn connect(&self, timeout: Duration) -> std::io::Result<TcpStream> {
        // A colon inside of brackets is part of an IPv6 address.
        let has_port = self.authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let authority = if has_port { self.authority.clone() } else { format!("{}:80", self.authority) };
        let mut last = std::io::Error::other("the name has no address");
        for address in authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(timeout))?;
                    stream.set_write_timeout(Some(timeout))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
