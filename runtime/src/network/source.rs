//! Sources: where flows come from, one after the other.

use crate::diagnostic::Diagnostic;
use crate::network::flow::{EventType, Flow, Interface, TracePoint, Verdict, event};
use crate::network::hubble::Response;
use crate::network::message::Text;
use crate::network::packet;
use crate::network::pcapng::{self, Frame};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};

/// A line that was seen, and the packet that it is about, where that was kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub response: Response,
    pub frame: Option<Frame>,
}

impl Seen {
    /// Nothing was seen for a while: time to look after other things.
    pub fn is_nothing(&self) -> bool {
        self.response == Response::default()
    }
}

/// What flows are read from.
pub trait Source {
    /// The next line, or nothing for now; `None`: there are no more.
    ///
    /// # Errors
    /// A diagnostic: nothing more can be read.
    fn next(&mut self) -> Result<Option<Seen>, Diagnostic>;

    /// May the next one take its time? Then what was printed should be seen by now.
    fn waits(&self) -> bool;

    /// Ends it before its end: what is still there is not wanted.
    ///
    /// # Errors
    /// A diagnostic: nobody knows how much that was.
    fn close(&mut self) -> Result<(), Diagnostic> {
        Ok(())
    }

    /// Are flows told as they happen? Else they were written before.
    fn is_live(&self) -> bool {
        false
    }

    /// The exit status that what ended it asks for.
    fn status(&self) -> u8 {
        0
    }

    /// What is to be told at the end: lines that were left out, packets that are missing.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// How much is missing of what there was.
    fn missing(&self) -> u64 {
        0
    }
}

/// Hubble's lines. Those that are none are left out and told.
pub struct Lines<R> {
    input: BufReader<R>,
    number: u64,
    wrong: Vec<(u64, Diagnostic)>,
    wrong_count: u64,
    unknown: BTreeSet<String>,
}

/// So many are told one by one.
const TOLD: usize = 3;

impl<R: Read> Lines<R> {
    pub fn new(input: R) -> Lines<R> {
        let input = BufReader::with_capacity(64 << 10, input);
        Lines { input, number: 0, wrong: Vec::new(), wrong_count: 0, unknown: BTreeSet::new() }
    }
}

impl<R: Read> Source for Lines<R> {
    fn next(&mut self) -> Result<Option<Seen>, Diagnostic> {
        loop {
            let mut line = Vec::new();
            let read = self.input.read_until(b'\n', &mut line);
            let count = read.map_err(|error| {
                Diagnostic::machine(format!("failed to read flows: {}", crate::kernel::load::text(&error)))
            })?;
            if count == 0 {
                return Ok(None);
            }
            self.number += 1;
            let line = String::from_utf8_lossy(&line);
            if line.trim().is_empty() {
                continue;
            }
            let mut unknown = Vec::new();
            match Response::parse(line.trim(), &mut unknown) {
                Ok(response) => {
                    self.unknown.extend(unknown);
                    return Ok(Some(Seen { response, frame: None }));
                }
                Err(diagnostic) => {
                    self.wrong_count += 1;
                    if self.wrong.len() < TOLD {
                        self.wrong.push((self.number, diagnostic));
                    }
                }
            }
        }
    }

    fn waits(&self) -> bool {
        self.input.buffer().is_empty()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> =
            self.wrong.iter().map(|(number, wrong)| format!("line {number} is left out: {}", wrong.message)).collect();
        let more = self.wrong_count - self.wrong.len() as u64;
        if more > 0 {
            notes.push(format!("{more} more lines are left out"));
        }
        if !self.unknown.is_empty() {
            let unknown: Vec<&str> = self.unknown.iter().map(String::as_str).collect();
            notes.push(format!("members that flows do not have: `{}`", unknown.join("`, `")));
        }
        notes
    }

    fn missing(&self) -> u64 {
        self.wrong_count
    }
}

/// Packets of a capture, each a flow.
pub struct Capture<R> {
    input: pcapng::Reader<R>,
}

impl<R: Read> Capture<R> {
    pub fn new(input: R) -> Capture<R> {
        Capture { input: pcapng::Reader::new(input) }
    }
}

impl<R: Read> Source for Capture<R> {
    fn next(&mut self) -> Result<Option<Seen>, Diagnostic> {
        let frame = self.input.packet()?;
        Ok(frame.map(|frame| Seen { response: of_frame(&frame).into(), frame: Some(frame) }))
    }

    fn waits(&self) -> bool {
        false
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.input.dropped > 0 {
            notes.push(format!("the capture says that it lacks {} packets", self.input.dropped));
        }
        if self.input.skipped > 0 {
            notes.push(format!("{} packets are left out: neither Ethernet nor IP", self.input.skipped));
        }
        notes
    }

    fn missing(&self) -> u64 {
        self.input.dropped + self.input.skipped
    }
}

/// What a captured packet says, and its comment.
pub fn of_frame(frame: &Frame) -> Flow {
    let mut flow = packet::parse(&frame.data, frame.link).flow();
    flow.time = Text(Some(frame.time));
    flow.traced(frame.direction);
    if !frame.interface.is_empty() {
        flow.interface = Some(Interface { index: 0, name: frame.interface.clone() });
    }
    for comment in &frame.comments {
        pcapng::apply(comment, &mut flow);
    }
    if flow.verdict == Verdict::Dropped {
        let sub_kind = flow.drop_reason.try_into().unwrap_or_default();
        flow.event_type = Some(EventType { kind: event::DROP, sub_kind });
        flow.trace_observation_point = TracePoint::Unknown;
    }
    flow
}

/// Flows of a file, in whichever of the forms it is.
///
/// # Errors
/// A machine diagnostic: it cannot be read.
pub fn of_input(input: impl Read + 'static) -> Result<Box<dyn Source>, Diagnostic> {
    let mut input = BufReader::new(input);
    let start = input
        .fill_buf()
        .map_err(|error| Diagnostic::machine(format!("failed to read flows: {}", crate::kernel::load::text(&error))))?;
    let is_capture = pcapng::is_one(start);
    Ok(if is_capture { Box::new(Capture::new(input)) } else { Box::new(Lines::new(input)) })
}
