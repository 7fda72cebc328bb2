//! /tmp/perf-PID.map: the names that a run time (Java, Node.js, .NET, Erlang) gives the code that it writes.
//! Source: Linux, tools/perf/Documentation/jit-interface.txt.

use super::ranges::Ranges;
use crate::binary::reader;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// Longer files are read up to here: the largest programs of Java have some ten megabytes. Whoever writes the file decides
/// how long it is, and a line of it takes ten times its length of our memory.
const LONGEST: u64 = 64 << 20;
const MOST: usize = 1 << 20;

/// The functions of one process.
#[derive(Debug, Default)]
pub struct PerfMap {
    functions: Ranges<Arc<str>>,
    path: PathBuf,
    length: u64,
}

impl PerfMap {
    /// Reads the map of a process; empty if it has none.
    pub fn read(pid: u32) -> PerfMap {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        // Its own number, in its own root; of one that is gone, as if it had lived here.
        let own = numbers.and_then(|numbers| numbers.split_whitespace().next_back()?.parse().ok()).unwrap_or(pid);
        let places = [format!("/proc/{pid}/root/tmp/perf-{own}.map"), format!("/tmp/perf-{pid}.map")];
        let path = places.iter().map(PathBuf::from).find(|path| path.is_file()).unwrap_or_default();
        let mut map = PerfMap { path, ..PerfMap::default() };
        map.read_on();
        map
    }

    /// Reads the file again if it has grown: run times append to it.
    pub fn read_on(&mut self) {
        // Whoever writes it may have put something else in its place.
        let Ok(file) = reader::open(&self.path) else {
            return;
        };
        let length = file.metadata().map_or(0, |data| data.len());
        let mut text = Vec::new();
        if length != self.length && file.take(LONGEST).read_to_end(&mut text).is_ok() {
            (self.functions, self.length) = (parse(&text), length);
        }
    }

    /// The function that an address lies in, and where that starts.
    pub fn find(&self, address: u64) -> Option<(u64, &Arc<str>)> {
        self.functions.get(address).map(|(range, name)| (range.start, name))
    }
}

/// Lines of `START SIZE name with spaces`, both numbers in hex; what reads otherwise is left out. Code is written where
/// older code was: later lines win.
pub fn parse(text: &[u8]) -> Ranges<Arc<str>> {
    let mut functions = Ranges::default();
    for line in text.split(|byte| *byte == b'\n').take(MOST) {
        let line = String::from_utf8_lossy(line);
        let mut words = line.trim_end().splitn(3, ' ');
        let mut number = || u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok();
        if let (Some(start), Some(size), Some(name)) = (number(), number(), words.next()) {
            functions.insert(start..start.saturating_add(size), name.trim_start().into());
        }
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_lines_win_and_names_may_hold_spaces() {
        let text = b"1000 20 Lhello;::run(int, long)\n0x1010 8 stub\nnonsense\n1000 zz bad\n2000 10\n3000 10 \xff\n";
        let functions = parse(text);
        let at = |address| functions.get(address).map(|(range, name)| (range.start, name.to_string()));
        assert_eq!(at(0x1004), Some((0x1000, "Lhello;::run(int, long)".into())));
        assert_eq!(at(0x1012), Some((0x1010, "stub".into())));
        assert_eq!(at(0x101c).map(|(_, name)| name), Some("Lhello;::run(int, long)".into()));
        assert_eq!((at(0x2004), at(0x3004).map(|(_, name)| name)), (None, Some("\u{fffd}".into())));
    }

    #[test]
    fn map_of_any_length_takes_bounded_memory() {
        let text = b"1 1 a\n".repeat(3 << 20);
        assert_eq!(parse(&text).get(1).map(|(range, _)| range), Some(1..2));
        let apart: String = (0..MOST + 7).map(|n| format!("{:x} 1 a\n", 2 * n)).collect();
        let functions = parse(apart.as_bytes());
        let last = 2 * (MOST as u64 - 1);
        assert!(functions.get(last).is_some() && functions.get(last + 2).is_none());
    }
}
