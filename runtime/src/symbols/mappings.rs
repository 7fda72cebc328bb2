//! What code a process has mapped, as /proc/PID/maps shows it. Pure text; no privilege.
//! Source: proc_pid_maps(5), fs/proc/task_mmu.c.

use super::ranges::Ranges;
use std::ops::Range;

/// Which file a mapping shows: device (major << 20 | minor) and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inode {
    pub device: u64,
    pub inode: u64,
}

/// What lies behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A file, by its place in [`super::files::Files`].
    File(usize),
    /// Memory of the process alone: code written at run time.
    Anonymous,
    Vdso,
    /// `[uprobes]`, `[vsyscall]`: pages of the kernel's.
    Special(&'static str),
}

/// One executable mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Add it to an address for the offset in the file; the same for all parts of a mapping that was cut.
    pub bias: u64,
    pub backing: Backing,
}

impl Mapping {
    pub fn new(start: u64, file_offset: u64, backing: Backing) -> Mapping {
        Mapping { bias: file_offset.wrapping_sub(start), backing }
    }
}

/// The executable mappings of a process.
pub type Space = Ranges<Mapping>;

/// One executable mapping as the kernel writes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub range: Range<u64>,
    pub file_offset: u64,
    pub inode: Inode,
    /// As the process sees it; empty for anonymous memory.
    pub path: String,
    pub deleted: bool,
}

/// The executable mappings of a text of /proc/PID/maps; lines of another form are left out.
pub fn lines(text: &str) -> impl Iterator<Item = Line> {
    text.lines().filter_map(line)
}

fn line(text: &str) -> Option<Line> {
    // start-end rwxp offset major:minor inode          path, which may hold spaces
    let mut words = text.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    if words.next()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let file_offset = hex(words.next()?)?;
    let (major, minor) = words.next()?.split_once(':')?;
    let inode = Inode { device: hex(major)? << 20 | hex(minor)?, inode: words.next()?.parse().ok()? };
    let (path, deleted) = path(words.next().unwrap_or_default().trim_start());
    Some(Line { range: hex(start)?..hex(end)?, file_offset, inode, path, deleted })
}

/// A path as the kernel shows it -> the path itself, and whether the file was deleted.
pub fn path(shown: &str) -> (String, bool) {
    let (path, deleted) = shown.strip_suffix(" (deleted)").map_or((shown, false), |path| (path, true));
    // The only character that is escaped.
    (path.replace("\\012", "\n"), deleted)
}

/// Memory that has no file, by what the kernel calls it; `None` for a file.
pub fn without_file(path: &str) -> Option<Backing> {
    Some(match path {
        "[vdso]" => Backing::Vdso,
        "[uprobes]" => Backing::Special("[uprobes]"),
        "[vsyscall]" => Backing::Special("[vsyscall]"),
        // Also what looks like a file and holds nothing: shared anonymous memory.
        "" | "//anon" | "/dev/zero" | "/anon_hugepage" => Backing::Anonymous,
        path if path.starts_with('[') || path.starts_with("/SYSV") => Backing::Anonymous,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
559e1c000000-559e1c002000 r--p 00000000 fe:00 812   /usr/bin/a b
559e1c002000-559e1c004000 r-xp 00002000 fe:00 812   /usr/bin/a b
7f0000000000-7f0000001000 rwxp 00000000 00:00 0
7f0000010000-7f0000011000 r-xp 00001000 103:01 7    /tmp/x\\012y (deleted)
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0     [vdso]
nonsense
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
";

    #[test]
    fn executable_lines_are_read_whatever_their_paths_hold() {
        let all: Vec<Line> = lines(MAPS).collect();
        let paths: Vec<_> = all.iter().map(|line| (line.path.as_str(), line.deleted)).collect();
        let expected =
            [("/usr/bin/a b", false), ("", false), ("/tmp/x\ny", true), ("[vdso]", false), ("[vsyscall]", false)];
        assert_eq!(paths, expected);
        assert_eq!((all[0].range.clone(), all[0].file_offset), (0x559e_1c00_2000..0x559e_1c00_4000, 0x2000));
        assert_eq!(all[2].inode, Inode { device: 0x103 << 20 | 1, inode: 7 });
    }

    #[test]
    fn bias_of_a_cut_mapping_still_leads_to_the_same_bytes() {
        let mut space = Space::default();
        space.insert(0x1000..0x9000, Mapping::new(0x1000, 0x400, Backing::File(0)));
        space.insert(0x2000..0x3000, Mapping::new(0x2000, 0, Backing::Anonymous));
        let (range, mapping) = space.get(0x3010).expect("the rest is still mapped");
        assert_eq!((range, 0x3010u64.wrapping_add(mapping.bias)), (0x3000..0x9000, 0x2410));
    }
}
