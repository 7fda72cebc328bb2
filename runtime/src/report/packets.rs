//! Packets that reached us: each a line, or all of them in a file in pcapng. They come from several CPUs, almost in order.

use crate::diagnostic::Diagnostic;
use crate::kernel::clock::Offset;
use crate::kernel::load::text;
use crate::kernel::network::Interface;
use crate::network::flow::Direction;
use crate::network::hubble::Response;
use crate::network::hubble::printer::{Options, Printer};
use crate::network::pcapng::{Counts, Frame, Writer};
use crate::network::source;
use crate::network::time::Time;
use crate::trust::Trust;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};

/// What a record of the template has in front of the packet, in this order.
pub const COLUMNS: [&str; 5] = ["time", "len", "captured", "interface", "direction"];

/// What is to become of packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `-`: standard output; `None`: lines.
    pub file: Option<String>,
    /// The run ends when there are so many.
    pub first: Option<u64>,
}

/// A packet may be behind one that came so much later: in a file that is closed at the end there is time to wait.
const BEHIND: u64 = 10_000_000;

enum Form {
    Lines { printer: Printer, json: bool },
    File { name: String, writer: Writer<BufWriter<Box<dyn Write>>> },
}

/// What becomes of them.
pub struct Packets {
    form: Form,
    clock: Offset,
    names: HashMap<u64, String>,
    waiting: Vec<Frame>,
    left: u64,
    pub kept: u64,
    /// Those that came when there were enough.
    pub beyond: u64,
}

impl Packets {
    /// `interfaces`: where they will come from.
    ///
    /// # Errors
    /// A script diagnostic: the file cannot be written.
    pub fn new(wish: &Wish, interfaces: &[Interface], json: bool, colour: bool) -> Result<Packets, Diagnostic> {
        let clock = Offset::sample();
        let form = match &wish.file {
            None => Form::Lines { printer: Printer::new(Options { colour, ..Options::default() }), json },
            Some(name) => {
                let comment = format!("times are exact to {} ns", clock.error.as_nanos());
                let writer = open(name).and_then(|out| Writer::new(BufWriter::with_capacity(1 << 20, out), &comment));
                let mut writer = writer.map_err(|error| unwritten(name, &error))?;
                for interface in interfaces {
                    let frame = Frame { interface: interface.name.clone(), ..Frame::default() };
                    writer.interface(&frame).map_err(|error| unwritten(name, &error))?;
                }
                Form::File { name: name.clone(), writer }
            }
        };
        let names = interfaces.iter().map(|one| (one.index.into(), one.name.clone())).collect();
        let left = wish.first.unwrap_or(u64::MAX);
        Ok(Packets { form, clock, names, waiting: Vec::new(), left, kept: 0, beyond: 0 })
    }

    /// Takes what follows a record's header.
    pub fn take(&mut self, record: &[u8]) {
        let (columns, data) = record.split_at_checked(8 * COLUMNS.len()).unwrap_or((record, &[]));
        let mut words = columns.chunks_exact(8).map(|word| word.try_into().map(u64::from_ne_bytes).unwrap_or_default());
        let mut word = || words.next().unwrap_or_default();
        let (time, length, captured, interface, direction) = (word(), word(), word(), word(), word());
        if self.left == 0 {
            self.beyond += 1;
            return;
        }
        self.left -= 1;
        self.kept += 1;
        // Records have room for more than the packet.
        let data = data.get(..captured as usize).unwrap_or(data).to_vec();
        self.waiting.push(Frame {
            interface: self.names.get(&interface).cloned().unwrap_or_else(|| format!("if{interface}")),
            time: Time(self.clock.day(time)),
            data,
            length: length as u32,
            direction: if direction == 0 { Direction::Ingress } else { Direction::Egress },
            ..Frame::default()
        });
    }

    pub fn is_enough(&self) -> bool {
        self.left == 0
    }

    /// Shows or writes what has come; lines are given back.
    ///
    /// # Errors
    /// The file cannot be written any more. A reader that went away is `None`.
    pub fn put(&mut self) -> Result<Option<String>, Diagnostic> {
        self.sorted(false)
    }

    fn sorted(&mut self, all: bool) -> Result<Option<String>, Diagnostic> {
        self.waiting.sort_by_key(|frame| frame.time);
        let newest = self.waiting.last().map_or(0, |frame| frame.time.0);
        let waits = !all && matches!(&self.form, Form::File { name, .. } if name != "-");
        let ready = match waits {
            true => self.waiting.partition_point(|frame| frame.time.0 + BEHIND <= newest),
            false => self.waiting.len(),
        };
        let mut lines = String::new();
        for frame in self.waiting.drain(..ready) {
            match &mut self.form {
                Form::Lines { printer, json } => {
                    let response: Response = source::of_frame(&frame).into();
                    lines += &if *json { response.line() + "\n" } else { printer.print(&response) };
                }
                Form::File { name, writer } => match writer.packet(&frame) {
                    Err(error) if is_gone(name, &error) => return Ok(None),
                    written => written.map_err(|error| unwritten(name, &error))?,
                },
            }
        }
        if let Form::File { name, writer } = &mut self.form
            && name == "-"
        {
            match writer.flush() {
                Err(error) if is_gone(name, &error) => return Ok(None),
                flushed => flushed.map_err(|error| unwritten(name, &error))?,
            }
        }
        Ok(Some(lines))
    }

    /// What has not been shown, and the end of the file, with these counts.
    ///
    /// # Errors
    /// As [`Packets::put`].
    pub fn end(mut self, trust: &Trust) -> Result<Option<String>, Diagnostic> {
        let Some(lines) = self.sorted(true)? else { return Ok(None) };
        if let Form::File { name, writer } = self.form {
            let passed = trust.seen - trust.filtered;
            let counts = Counts { received: trust.seen, dropped: trust.lost(), passed, delivered: self.kept };
            match writer.end_counted(&counts) {
                Err(error) if is_gone(&name, &error) => return Ok(None),
                ended => drop(ended.map_err(|error| unwritten(&name, &error))?),
            }
        }
        Ok(Some(lines))
    }
}

fn open(name: &str) -> io::Result<Box<dyn Write>> {
    Ok(match name {
        "-" => Box::new(io::stdout()),
        file => Box::new(File::create(file)?),
    })
}

fn is_gone(name: &str, error: &io::Error) -> bool {
    name == "-" && error.kind() == io::ErrorKind::BrokenPipe
}

fn unwritten(name: &str, error: &io::Error) -> Diagnostic {
    Diagnostic::script(format!("failed to write `{name}`: {}", text(error))).span(name)
}
