//! Lines: one flow, loss or state of a node each, as `hubble observe -o jsonpb` writes and `--input-file` reads them.

use crate::diagnostic::{Diagnostic, nearest};
use crate::network::flow::{Flow, LostEvents};
use crate::network::message::{self, Text, Value, message};
use crate::network::time::Time;
use crate::report::json::spelled;
use serde_json::{Map, Value as Json};
use std::fmt::Write;

message! {
    /// One line. Exactly one of the members but the last two is there.
    pub struct Response {
        flow: Option<Box<Flow>> = "flow",
        node_status: Json = "node_status",
        lost_events: Option<LostEvents> = "lost_events",
        agent_event: Json = "agent_event",
        debug_event: Json = "debug_event",
        node_name: String = "node_name",
        time: Text<Time> = "time",
    }
}

impl From<Flow> for Response {
    fn from(flow: Flow) -> Response {
        let (node_name, time) = (flow.node_name.clone(), flow.time);
        Response { flow: Some(Box::new(flow)), node_name, time, ..Response::default() }
    }
}

impl Response {
    pub fn lost(lost: LostEvents, node_name: &str) -> Response {
        let (node_name, time) = (node_name.to_owned(), lost.last);
        Response { lost_events: Some(lost), node_name, time, ..Response::default() }
    }

    /// The line, without its end.
    pub fn line(&self) -> String {
        escaped(&self.json())
    }

    /// The line with those parts of a flow only that `mask` names.
    pub fn masked_line(&self, mask: &Mask) -> String {
        let mut json = self.json();
        if let Some(flow) = json.get_mut("flow") {
            *flow = mask.apply(flow);
        }
        escaped(&json)
    }

    /// Reads a line; keys that it should not have go to `unknown`. A flow alone, as old versions wrote it, is one too.
    ///
    /// # Errors
    /// A script diagnostic: no JSON, a member of another type, nothing that is told.
    pub fn parse(line: &str, unknown: &mut Vec<String>) -> Result<Response, Diagnostic> {
        let mut strange = Vec::new();
        let response: Response = message::read(line, &mut strange)?;
        let tells = response.flow.is_some() || response.lost_events.is_some();
        let other = [&response.node_status, &response.agent_event, &response.debug_event];
        if tells || other.iter().any(|json| !json.is_null()) {
            unknown.append(&mut strange);
            return Ok(response);
        }
        let flow = message::read::<Flow>(line, unknown)?;
        if flow.verdict.is_zero() && flow.ip.is_none() && flow.event_type.is_none() {
            return Err(Diagnostic::script("this holds no flow"));
        }
        Ok(flow.into())
    }
}

/// As Go writes JSON: some signs could end a script in HTML. Others a terminal would act on.
fn escaped(json: &Json) -> String {
    let text = json.to_string();
    let text = spelled(&text);
    if !text.contains(['<', '>', '&']) {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for sign in text.chars() {
        match sign {
            '<' | '>' | '&' => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(sign));
            }
            sign => out.push(sign),
        }
    }
    out
}

/// A field mask: the members of a flow that are wanted, by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask(Vec<Vec<String>>);

impl Mask {
    /// `time`, `source.identity`, …; several may be joined by commas.
    ///
    /// # Errors
    /// A script diagnostic: a flow has no such member.
    pub fn parse<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Mask, Diagnostic> {
        let mut mask = Mask::default();
        for path in paths.into_iter().flat_map(|paths| paths.split(',')) {
            let parts: Vec<&str> = path.split('.').collect();
            if !Flow::has(&parts) {
                let wrong = Diagnostic::script(format!("a flow has no member `{path}`"));
                let known = ["time", "source", "destination", "IP", "l4", "l7", "verdict", "node_name", "Summary"];
                let near = nearest(parts[0], known).unwrap_or("time,source.identity,destination.identity,verdict");
                return Err(wrong.help(near));
            }
            mask.0.push(parts.into_iter().map(str::to_owned).collect());
        }
        Ok(mask)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn apply(&self, json: &Json) -> Json {
        select(json, &self.0.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

/// Members in their old order; a path that ends keeps all that is below.
fn select(json: &Json, paths: &[&[String]]) -> Json {
    let Json::Object(object) = json else { return json.clone() };
    if paths.iter().any(|path| path.is_empty()) {
        return json.clone();
    }
    let mut kept = Map::new();
    for (key, value) in object {
        let below: Vec<&[String]> = paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter(|(first, _)| *first == key)
            .map(|p| p.1)
            .collect();
        if !below.is_empty() {
            kept.insert(key.clone(), select(value, &below));
        }
    }
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of Hubble's, of its own decoder's liking.
    const LINES: &str = include_str!("../../../../tests/fixtures/hubble/flows.jsonl");

    #[test]
    fn lines_are_written_as_they_were_read() {
        for line in LINES.lines() {
            let mut unknown = Vec::new();
            let response = Response::parse(line, &mut unknown).unwrap_or_else(|error| panic!("{error}\n{line}"));
            assert_eq!((response.line().as_str(), unknown.as_slice()), (line, &[][..]));
        }
    }

    #[test]
    fn unknown_keys_are_told_with_their_place_and_wrong_members_are_errors() {
        let mut unknown = Vec::new();
        let line = r#"{"flow":{"verdict":"DROPPED","drop_reason_desc":"DROP_TOMORROW","l4":{"QUIC":{}},"pid":7}}"#;
        assert!(Response::parse(line, &mut unknown).is_ok());
        assert_eq!(unknown, ["flow.drop_reason_desc.DROP_TOMORROW", "flow.l4.QUIC", "flow.pid"]);
        let error = |line: &str| Response::parse(line, &mut Vec::new()).expect_err(line).message.clone();
        assert_eq!(error(r#"{"flow":{"verdict":true}}"#), "`flow.verdict` wants a name of Verdict, got `true`");
        let message = error(r#"{"flow":{"l4":{"TCP":{"source_port":70000}}}}"#);
        assert_eq!(message, "`flow.l4.TCP.source_port` wants a number that fits, got `70000`");
        assert_eq!(error("{}"), "this holds no flow");
        assert_eq!(error("{\"flow\""), "this is no JSON: eof while parsing an object");
        assert_eq!(error("7"), "wanted an object, got `7`");
    }

    #[test]
    fn flow_alone_is_a_line_of_an_old_version() {
        let line = r#"{"verdict":"FORWARDED","IP":{"source":"10.9.0.2"},"node_name":"n1"}"#;
        let mut unknown = Vec::new();
        let response = Response::parse(line, &mut unknown).expect("it is one");
        assert_eq!((response.node_name.as_str(), unknown.is_empty()), ("n1", true));
    }

    #[test]
    fn mask_keeps_what_it_names() {
        let line = LINES.lines().next().expect("there is a first line");
        let response = Response::parse(line, &mut Vec::new()).expect("it is one");
        let mask = Mask::parse(["verdict,source.identity", "l4.TCP.flags.SYN"]).expect("all of it is there");
        assert_eq!(
            response.masked_line(&mask),
            "{\"flow\":{\"verdict\":\"DROPPED\",\"l4\":{\"TCP\":{\"flags\":{\"SYN\":true}}},\"source\":{\"identity\":4711}},\
             \"node_name\":\"n1\",\"time\":\"2026-11-21T02:00:00.123456789Z\"}"
        );
        assert!(Mask::parse(["sauce.identity"]).is_err() && Mask::parse(["time.seconds"]).is_err());
    }

    #[test]
    fn signs_of_html_are_escaped_and_read_back() {
        let flow = Flow {
            summary: "GET /?a=1&b=<2>".into(),
            verdict: crate::network::flow::Verdict::Traced,
            ..Flow::default()
        };
        let line = Response::from(flow).line();
        assert!(line.contains(r"GET /?a=1\u0026b=\u003c2\u003e"), "{line}");
        let again = Response::parse(&line, &mut Vec::new()).expect("it is ours");
        assert_eq!(again.flow.map(|flow| flow.summary.clone()).as_deref(), Some("GET /?a=1&b=<2>"));
    }
}
