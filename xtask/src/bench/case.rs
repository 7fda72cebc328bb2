//! A question to all tracers, each in its own words. `{pid}` stands for the load's.

use super::programs::Programs;
use super::stats::Samples;
use super::table::{Cell, Goal};
use super::tools::Tool;
use std::collections::BTreeMap;

/// One question.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    /// Events as tests/bench/events.h spells them.
    pub kind: String,
    /// What each tool is asked, behind its command line; a tool that is not in here has no words for it.
    words: BTreeMap<Tool, Vec<String>>,
    pub goals: Vec<Goal>,
    /// NAME=VALUE, for bpftrace.
    environment: Vec<String>,
    /// What is printed goes to /dev/null.
    pub is_discarded: bool,
}

impl Case {
    /// By a script for skep, and one for bpftrace; empty where bpftrace knows nothing of the kind.
    pub fn new(name: &'static str, kind: &str, skep: &str, bpftrace: &str) -> Case {
        let (words, goals, environment) = (BTreeMap::new(), Vec::new(), Vec::new());
        let case = Case { name, kind: kind.to_owned(), words, goals, environment, is_discarded: false }
            .ask(Tool::Skep, &["-e", skep]);
        if bpftrace.is_empty() { case } else { case.ask(Tool::Bpftrace, &["-e", bpftrace]) }
    }

    /// In more words of this tool.
    pub fn ask(mut self, tool: Tool, words: &[&str]) -> Case {
        self.words.entry(tool).or_default().extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Written by hand, too: object, program, pid, and what else tests/bench/tracer.c takes.
    pub fn c(self, words: &[&str]) -> Case {
        self.ask(Tool::C, words)
    }

    /// By BCC's argdist, which prints every second unless it is told otherwise.
    pub fn argdist(self, words: &[&str]) -> Case {
        self.ask(Tool::Bcc, &["-i", "3600"]).ask(Tool::Bcc, words)
    }

    /// What it may cost, of another tool's cost.
    pub fn at_most(mut self, ratio: f64, tool: Tool) -> Case {
        self.goals.push(Goal::AtMost(ratio, tool));
        self
    }

    /// With variables in the environment of bpftrace.
    pub fn environment(self, environment: Vec<String>) -> Case {
        Case { environment, ..self }
    }

    /// With nobody who reads what is printed.
    pub fn discarded(self) -> Case {
        Case { is_discarded: true, ..self }
    }

    /// The command line, or `None` where the tool is not installed or has no words for it. Quiet where nothing but results
    /// is wanted.
    pub fn command(&self, programs: &Programs, tool: Tool, pid: u32, quiet: bool) -> Option<Vec<String>> {
        let words = self.words.get(&tool)?;
        let mut command = match tool {
            Tool::Skep => {
                let quiet = quiet.then(|| "-q".to_owned());
                [programs.skep.to_string_lossy().into_owned()].into_iter().chain(quiet).collect()
            }
            Tool::C if programs.has_c => {
                vec![programs.built("tracer").display().to_string(), programs.built(&words[0]).display().to_string()]
            }
            _ => programs.line(tool)?.to_vec(),
        };
        if tool == Tool::Bpftrace && !self.environment.is_empty() {
            command.splice(0..0, ["env".to_owned()].into_iter().chain(self.environment.clone()));
        }
        command.extend(words.iter().skip(usize::from(tool == Tool::C)).cloned());
        Some(command.into_iter().map(|word| word.replace("{pid}", &pid.to_string())).collect())
    }

    /// What is known of a tool before it is asked.
    pub fn cell(&self, programs: &Programs, tool: Tool) -> Cell {
        match self.words.contains_key(&tool) {
            false => Cell::NotMeasured,
            true if !programs.has(tool) => Cell::NotInstalled,
            true => Cell::Measured(Samples::default()),
        }
    }
}

/// The tools that have words for one of these questions at least.
pub fn columns(cases: &[Case]) -> Vec<Tool> {
    let asked = |tool: &Tool| cases.iter().any(|case| case.words.contains_key(tool));
    Tool::TRACERS.into_iter().filter(asked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_that_nobody_asks_has_no_column() {
        let cases = [Case::new("", "", "s", "").c(&["o"]), Case::new("", "", "s", "b")];
        assert_eq!(columns(&cases), [Tool::Skep, Tool::Bpftrace, Tool::C]);
        assert_eq!(columns(&cases[..1]), [Tool::Skep, Tool::C]);
    }
}
