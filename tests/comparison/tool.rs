//! The other tool of a comparison: started, attached, asked for its text.

use super::answer::{Answer, Said};
use super::case::Place;
use skep_tests::skep::Running;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Where Debian has the tools of both.
const FOLDER: &str = "/usr/sbin";
/// Said by bpftrace once everything is attached: an interval that stands before all other probes is attached last.
const READY: &str = "the comparison may begin";
/// Pages of its buffer on each processor: the 64 that it has by itself do not last where it must wait for its turn.
const ROOM: &str = "1024";
/// How long links must stay the same until they are all there.
const QUIET: Duration = Duration::from_millis(300);

#[derive(Clone, Copy)]
pub enum Tool {
    /// A program of bpftrace's, `opensnoop.bt`.
    Bpftrace(&'static str),
    /// The same with one word replaced by another: as it is, it cannot run here.
    Amended(&'static str, &'static str, &'static str),
    /// A command line of BCC's libbpf-tools, `opensnoop -p PID`.
    Bcc(&'static str),
}

/// A tool, what to read of its output, and what there is to say about it.
#[derive(Clone, Copy)]
pub struct Theirs {
    pub tool: Tool,
    pub reads: fn(&Said) -> Answer,
    pub note: &'static str,
    /// It prints nothing until it ends.
    pub at_its_end: bool,
}

pub const fn bpftrace(name: &'static str, reads: fn(&Said) -> Answer) -> Theirs {
    Theirs { tool: Tool::Bpftrace(name), reads, note: "", at_its_end: false }
}

pub const fn bcc(line: &'static str, reads: fn(&Said) -> Answer) -> Theirs {
    Theirs { tool: Tool::Bcc(line), reads, note: "", at_its_end: false }
}

impl Theirs {
    pub const fn noting(self, note: &'static str) -> Theirs {
        Theirs { note, ..self }
    }

    pub const fn at_its_end(self) -> Theirs {
        Theirs { at_its_end: true, ..self }
    }
}

impl Tool {
    /// What it is called with.
    pub fn line(self) -> &'static str {
        match self {
            Tool::Bpftrace(name) | Tool::Amended(name, ..) => name,
            Tool::Bcc(line) => line,
        }
    }

    /// Its name, without an ending and arguments.
    pub fn name(self) -> &'static str {
        self.line().split([' ', '.']).next().unwrap_or_default()
    }

    /// The package that has it.
    pub fn package(self) -> &'static str {
        if matches!(self, Tool::Bcc(_)) { "libbpf-tools" } else { "bpftrace" }
    }

    /// Its file.
    pub fn file(self) -> String {
        let name = self.line().split(' ').next().unwrap_or_default();
        format!("{FOLDER}/{name}")
    }

    /// Starts it and waits until it has attached everything.
    #[track_caller]
    pub fn attached(self, place: &Place) -> Running {
        match self {
            Tool::Bcc(line) => {
                // Lines come when they are whole, into a pipe too.
                let mut command = Command::new("stdbuf");
                command.args(["-oL", &self.file()]).args(line.split(' ').skip(1).map(|word| place.fill(word)));
                linked(Running::of(command))
            }
            Tool::Bpftrace(_) | Tool::Amended(..) => {
                let mut command = Command::new("bpftrace");
                command.arg("-e").arg(self.program()).env("BPFTRACE_PERF_RB_PAGES", ROOM);
                let run = Running::of(command).printed(READY);
                std::thread::sleep(Duration::from_millis(200));
                run
            }
        }
    }

    /// Its text, with a probe that says when it is ready.
    fn program(self) -> String {
        let file = self.file();
        let mut text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        if let Tool::Amended(_, from, to) = self {
            text = text.replace(from, to);
        }
        let ready = format!("interval:ms:50 /@ready == 0/ {{ @ready = 1; printf(\"{READY}\\n\"); }}\nBEGIN");
        assert!(text.contains("\nBEGIN"), "{file} has no beginning");
        text.replacen("BEGIN", &ready, 1)
    }
}

/// Waits until the links of a program of libbpf are there, and no more of them come.
#[track_caller]
fn linked(mut run: Running) -> Running {
    let (mut links, mut since) = (0, Instant::now());
    run.until("its links", |run| {
        let now = links_of(run.pid());
        if now != links {
            (links, since) = (now, Instant::now());
        }
        links > 0 && since.elapsed() > QUIET
    });
    run
}

fn links_of(pid: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let kinds = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    let link =
        |kind: &Path| ["anon_inode:bpf_link", "anon_inode:[perf_event]"].iter().any(|one| kind == Path::new(one));
    kinds.filter(|kind| link(kind)).count()
}
