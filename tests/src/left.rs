//! What a run holds in the kernel, and whether any of it is left behind: programs, maps and links by their numbers,
//! breakpoints in the text of a process, files below /sys/fs/bpf.

use crate::kernel;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Commands of bpf(2) that go from number to number.
const NEXT_PROGRAM: i64 = 11;
const NEXT_MAP: i64 = 12;
const NEXT_LINK: i64 = 31;

/// How long the kernel may take to free what nobody holds any more, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a process holds by its descriptors.
#[derive(Debug, Default)]
pub struct Held {
    pub programs: BTreeSet<u32>,
    pub maps: BTreeSet<u32>,
    pub links: BTreeSet<u32>,
    pub perf_events: usize,
}

impl Held {
    /// Of a run that is attached.
    #[track_caller]
    pub fn of(pid: u32) -> Held {
        let numbers = |member| kernel::held(pid, member).iter().filter_map(|id| id.parse().ok()).collect();
        let held = Held {
            programs: numbers("prog_id:"),
            maps: numbers("map_id:"),
            links: numbers("link_id:"),
            perf_events: descriptors(pid).iter().filter(|target| target.contains("[perf_event]")).count(),
        };
        assert!(!held.programs.is_empty() && !held.maps.is_empty(), "the run holds nothing: {held:?}");
        held
    }

    /// Waits until the kernel has freed all of it.
    #[track_caller]
    pub fn assert_gone(&self) {
        let since = Instant::now();
        loop {
            let left = |next, own: &BTreeSet<u32>| kernel::all(next).intersection(own).copied().collect::<Vec<_>>();
            let left = [left(NEXT_PROGRAM, &self.programs), left(NEXT_MAP, &self.maps), left(NEXT_LINK, &self.links)];
            if left.iter().all(Vec::is_empty) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "programs, maps and links {left:?} are left");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What the descriptors of a process are, as /proc names it.
pub fn descriptors(pid: u32) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    links.filter_map(|link| Some(fs::read_link(link.path()).ok()?.display().to_string())).collect()
}

/// How many instructions of a program are not those of its file: each uprobe in it is one. `path` is the file as the
/// process has it mapped.
#[track_caller]
pub fn breakpoints(pid: u32, path: &str) -> usize {
    let file = fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let memory = File::open(format!("/proc/{pid}/mem")).expect("the process is there");
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process is there");
    let mut found = 0;
    for line in maps.lines().filter(|line| line.ends_with(path)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| u64::from_str_radix(text, 16).expect("maps has addresses");
        if !words[1].contains('x') {
            continue;
        }
        let (begin, end) = words[0].split_once('-').map(|(begin, end)| (number(begin), number(end))).expect("a range");
        let offset = number(words[2]) as usize;
        let length = ((end - begin) as usize).min(file.len() - offset);
        let mut text = vec![0; length];
        memory.read_exact_at(&mut text, begin).expect("text can be read");
        found += text.iter().zip(&file[offset..]).filter(|(now, then)| now != then).count();
    }
    found
}

/// Waits until there are so many.
#[track_caller]
pub fn assert_breakpoints(pid: u32, path: &str, wanted: usize) {
    let since = Instant::now();
    while breakpoints(pid, path) != wanted {
        let found = breakpoints(pid, path);
        assert!(since.elapsed() < PATIENCE, "{found} breakpoints in `{path}` of {pid}, not {wanted}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Files of ours below /sys/fs/bpf.
pub fn pinned() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.contains("skep")).collect()
}
