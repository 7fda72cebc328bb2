//! One script and the tools of its name: all of them attach, the workload runs once, all of them end.

use super::answer::{Answer, Ours, Said};
use super::tool::Theirs;
use skep_tests::machine::{Disk, Folder, program};
use skep_tests::skep::Running;
use skep_tests::{Skep, Workload, workload};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// A line of the tables.
#[derive(Clone, Copy)]
pub struct Case {
    /// Our script with its settings. In all texts PID stands for the workload's process, BIN for its program, FOLDER for a
    /// folder of the case's own, with the program `FOLDER/true`, DISK for a disk of its own, of some blocks, and 7:MINOR for its number.
    pub ours: &'static str,
    /// Verbs of skep-workload.
    pub workload: &'static str,
    pub reads: fn(&Ours) -> Answer,
    pub wanted: Wanted,
    pub theirs: &'static [Theirs],
}

/// When answers agree. Of histograms the numbers of samples are compared so, and the mean of the powers of two that they
/// lie in differs by one at most: each tool takes the time at its own moment.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// Each counts so many, no more and no less.
    Exactly(u64),
    /// Each counts the same, and no fewer: a machine that has other work to do adds to what is planned.
    Same(u64),
    /// No fewer, and apart by this percentage at most.
    Near(u64, u64),
    /// The same of what is done on the whole machine, while no other case is compared: they do not see it for the same time.
    Whole(u64, u64),
}

/// Cases at a time: each is a handful of processes that mostly wait.
const AT_A_TIME: usize = 3;
/// Some look up a symbol for each line of any process, and are late.
const PATIENCE: Duration = Duration::from_secs(20);

/// What stands for the words of a case.
#[derive(Default)]
pub struct Place {
    pid: String,
    folder: String,
    disk: Option<Disk>,
}

impl Place {
    pub fn fill(&self, text: &str) -> String {
        let bin = if text.contains("BIN") { workload::path() } else { String::new() };
        let text = text.replace("BIN", &bin).replace("PID", &self.pid).replace("FOLDER", &self.folder);
        match &self.disk {
            Some(disk) => text.replace("DISK", &disk.0).replace("MINOR", disk.0.trim_start_matches("loop")),
            None => text,
        }
    }
}

/// Runs all cases of a table.
#[track_caller]
pub fn agree(cases: &[Case]) {
    if program("bpftrace").is_none() || program("opensnoop").is_none() {
        return;
    }
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ran = std::panic::catch_unwind(|| case.compare());
                    let found = ran.unwrap_or_else(|_| vec![format!("{}: did not come to its end", case.ours)]);
                    wrong.lock().expect("nobody panics with it").extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("nobody panics with it");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Case {
    /// What differs.
    fn compare(&self) -> Vec<String> {
        static MACHINE: RwLock<()> = RwLock::new(());
        let whole = matches!(self.wanted, Wanted::Whole(..));
        let _alone = whole.then(|| MACHINE.write().unwrap_or_else(PoisonError::into_inner));
        let _among_others = (!whole).then(|| MACHINE.read().unwrap_or_else(PoisonError::into_inner));
        let folder = Folder::new();
        let mut place =
            Place { folder: folder.0.display().to_string(), disk: self.prepare(&folder), ..Place::default() };
        let workload = Workload::stopped(&place.fill(self.workload));
        place.pid = workload.pid();
        let theirs: Vec<Running> = self.theirs.iter().map(|theirs| theirs.tool.attached(&place)).collect();
        // The last to attach, and the quickest: those that see the whole machine see it for the same time, nearly.
        let line = place.fill(self.ours);
        let words: Vec<&str> = line.split(' ').collect();
        let ours = Skep::new(&["--format", "json", "run"]).arguments(&words).start().attached();
        workload.go();
        self.wait_for(&theirs, &place);
        let theirs: Vec<Running> = theirs.into_iter().map(|run| run.signal(libc::SIGINT)).collect();
        let ours = Ours { output: ours.interrupt().ok(), place: &place };
        let (answer, mut wrong) = ((self.reads)(&ours), Vec::new());
        for (tool, run) in self.theirs.iter().zip(theirs) {
            let said = Said { text: run.insist(libc::SIGINT).out, place: &place };
            let other = (tool.reads)(&said);
            println!("{:<50} {:<30} {:>8} {:>8}", self.ours, tool.tool.line(), answer.total(), other.total());
            if let Some(difference) = self.difference(&answer, &other) {
                let output = &ours.output;
                wrong.push(format!("{} and {}: {difference}\n{output}\n{}", self.ours, tool.tool.line(), said.text));
            }
        }
        wrong
    }

    /// Until each has told of as many events as there are, but for those that tell at their end.
    fn wait_for(&self, theirs: &[Running], place: &Place) {
        let told = |(tool, run): (&Theirs, &Running)| {
            let said = Said { text: run.printed_so_far(), place };
            tool.at_its_end || (tool.reads)(&said).total() >= self.wanted.number()
        };
        let since = Instant::now();
        while since.elapsed() < PATIENCE && !self.theirs.iter().zip(theirs).all(told) {
            std::thread::sleep(Duration::from_millis(50));
        }
        // One too many is a difference, too.
        std::thread::sleep(Duration::from_millis(300));
    }

    fn prepare(&self, folder: &Folder) -> Option<Disk> {
        if self.workload.contains("FOLDER/true") {
            std::fs::copy("/bin/true", folder.0.join("true")).expect("there is room");
        }
        self.workload.contains("DISK").then(|| Disk::new(folder))
    }

    fn difference(&self, ours: &Answer, theirs: &Answer) -> Option<String> {
        let (one, other) = (ours.total(), theirs.total());
        let (apart, least) = (one.abs_diff(other), one.min(other));
        let agrees = match self.wanted {
            Wanted::Exactly(number) => one == number && other == number,
            Wanted::Same(number) => apart == 0 && least >= number,
            Wanted::Near(number, percent) | Wanted::Whole(number, percent) => {
                apart * 100 <= percent * one.max(other) && least >= number
            }
        };
        if !agrees {
            return Some(format!("{one} and {other}, not {}", self.wanted));
        }
        match (ours.mean_power(), theirs.mean_power()) {
            (None, None) => None,
            (Some(one), Some(other)) if (one - other).abs() <= 1.0 => None,
            (one, other) => Some(format!("histograms differ, on average powers {one:?} and {other:?} of two")),
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wanted::Exactly(number) => write!(f, "{number}"),
            Wanted::Same(number) => write!(f, "the same, {number} or more"),
            Wanted::Near(number, percent) | Wanted::Whole(number, percent) => {
                write!(f, "within {percent} %, {number} or more")
            }
        }
    }
}

impl Wanted {
    fn number(self) -> u64 {
        match self {
            Wanted::Exactly(number) | Wanted::Same(number) => number,
            Wanted::Near(number, _) | Wanted::Whole(number, _) => number,
        }
    }
}
