//! Paths of files as slots write them: names from the file up to the root, turned round here. Pure; no privilege.
//!
//! ```text
//! 0 bytes used    4 flags    8 c \0 b \0 a \0                            /a/b/c
//! 0 0             4 NAMELESS 8 number    16 file system \0    48 name \0   pipe:[4711]
//! ```

use super::column::text;

/// Bytes of the column that say what the rest is.
pub const BODY: u16 = 8;
pub const FLAGS: u16 = 4;
/// Of what has no place in a tree: behind its number, the type of its file system, and the name that it has there.
pub const FILE_SYSTEM: u16 = 16;
pub const OWN_NAME: u16 = 48;

/// The walk reached the root.
pub const ROOTED: u32 = 1;
/// The file was removed while it was open.
pub const DELETED: u32 = 2;
/// The last name did not fit.
pub const TORN: u32 = 4;
pub const NAMELESS: u32 = 8;

/// Bytes that a path may take: the least is more than a key on the stack, where such a walk cannot write.
pub const SHORTEST: u16 = 128;
pub const LONGEST: u16 = 512;

/// The path as /proc/PID/fd has it; `…` stands for what did not fit. Empty where there was no file.
pub fn decode(column: &[u8]) -> String {
    let number = |at: u16, length: usize| {
        let bytes = column.get(usize::from(at)..).and_then(|bytes| bytes.get(..length)).unwrap_or(&[]);
        bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let behind = |at: u16| column.get(usize::from(at)..).unwrap_or(&[]);
    let (used, flags) = (number(0, 4) as usize, number(FLAGS, 4) as u32);
    if flags & NAMELESS != 0 {
        return nameless(&text(behind(FILE_SYSTEM)), &text(behind(OWN_NAME)), number(BODY, 8));
    }
    let names = behind(BODY);
    let names = names.get(..used).unwrap_or(names).split_inclusive(|byte| *byte == 0).map(text);
    let mut names: Vec<String> = names.collect();
    if let Some(last) = names.last_mut().filter(|_| flags & TORN != 0) {
        last.push('…');
    }
    names.reverse();
    let front = match (flags & ROOTED != 0, names.is_empty()) {
        (true, _) => "/",
        (false, false) => "…/",
        (false, true) => "",
    };
    let deleted = if flags & DELETED != 0 { " (deleted)" } else { "" };
    format!("{front}{}{deleted}", names.join("/"))
}

/// What the kernel calls files that no folder has.
fn nameless(file_system: &str, name: &str, number: u64) -> String {
    match (file_system, name) {
        ("pipefs", _) => format!("pipe:[{number}]"),
        ("sockfs", _) => format!("socket:[{number}]"),
        ("anon_inodefs", name) => format!("anon_inode:{name}"),
        ("pidfs", _) => "anon_inode:[pidfd]".to_owned(),
        // Memory with a descriptor, and shared memory.
        ("tmpfs" | "hugetlbfs", name) if !name.is_empty() => format!("/{name} (deleted)"),
        (file_system, "" | "/") => format!("{file_system}:[{number}]"),
        (file_system, name) => format!("{file_system}:{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(flags: u32, names: &str) -> String {
        let mut column = (names.len() as u32).to_le_bytes().to_vec();
        column.extend(flags.to_le_bytes());
        column.extend(names.bytes());
        // What is behind them is anybody's.
        column.extend(b"old\0");
        decode(&column)
    }

    #[test]
    fn names_are_turned_round() {
        assert_eq!(walked(ROOTED, "libc.so.6\0lib\0usr\0"), "/usr/lib/libc.so.6");
        assert_eq!(walked(ROOTED, ""), "/");
        assert_eq!(walked(ROOTED | DELETED, "a\0tmp\0"), "/tmp/a (deleted)");
    }

    #[test]
    fn what_did_not_fit_is_shown() {
        assert_eq!(walked(0, "c\0b\0"), "…/b/c");
        assert_eq!(walked(TORN, "c\0node_mod\0"), "…/node_mod…/c");
        assert_eq!(walked(0, ""), "");
    }

    #[test]
    fn files_that_no_folder_has_are_named_as_the_kernel_does() {
        let named = |file_system: &str, name: &str| {
            let mut column = vec![0; 128];
            column[usize::from(FLAGS)] = NAMELESS as u8;
            column[usize::from(BODY)..][..8].copy_from_slice(&(1u64 << 33).to_le_bytes());
            column[usize::from(FILE_SYSTEM)..][..file_system.len()].copy_from_slice(file_system.as_bytes());
            column[usize::from(OWN_NAME)..][..name.len()].copy_from_slice(name.as_bytes());
            decode(&column)
        };
        assert_eq!(named("pipefs", ""), "pipe:[8589934592]");
        assert_eq!(named("sockfs", "TCP"), "socket:[8589934592]");
        assert_eq!(named("anon_inodefs", "[eventpoll]"), "anon_inode:[eventpoll]");
        assert_eq!(named("tmpfs", "memfd:x"), "/memfd:x (deleted)");
        assert_eq!(named("nsfs", ""), "nsfs:[8589934592]");
    }

    #[test]
    fn column_cut_short_is_no_failure() {
        assert_eq!(decode(&[]), "");
        assert_eq!(decode(&[200, 0, 0, 0, 1, 0, 0, 0, b'a']), "/a");
    }
}
