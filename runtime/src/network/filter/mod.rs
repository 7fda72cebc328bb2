//! tcpdump's filters: `tcp port 80 and not host 10.0.0.1`. One is compiled for the kernel, as a part of a template's
//! filter, and is computed here for captures. Pure; no privilege.
//!
//! What they mean is what libpcap's compiler makes of them for frames of Ethernet (pcap-filter(7)), down to packets that are
//! cut short. Names of hosts, nets and ports are not looked up: they would mean something else on every machine.

mod arithmetic;
pub mod check;
mod heads;
mod lexer;
mod lower;
mod primitives;
mod syntax;

use crate::diagnostic::Diagnostic;
use check::Check;

pub use lower::lower;

/// A filter, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Check);

/// What is wrong with a filter, and which bytes of its text are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    pub from: usize,
    pub to: usize,
    pub help: Option<String>,
}

impl Filter {
    /// # Errors
    /// What is no filter, or one that is not known here.
    pub fn parse(text: &str) -> Result<Filter, Fault> {
        syntax::parse(text).map(Filter)
    }

    /// Does a frame pass? `length`: of the whole packet, of which the frame may be the beginning.
    pub fn passes(&self, frame: &[u8], length: u32) -> bool {
        self.0.passes(frame, length)
    }

    pub fn check(&self) -> &Check {
        &self.0
    }
}

impl Fault {
    fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }

    /// As an error of the script that the filter's text stands in.
    pub fn diagnostic(&self, text: &str) -> Diagnostic {
        let error = Diagnostic::script(self.message.as_str());
        let error = match text.get(self.from..self.to).filter(|word| !word.is_empty()) {
            Some(word) => error.span(word),
            None => error,
        };
        match &self.help {
            Some(help) => error.help(help.as_str()),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests;
