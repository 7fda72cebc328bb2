//! Folded text: one stack a line, its frames from the root joined by `;`, a space, a value. What the tools of the trade
//! hand to each other: `perf`'s collapsers write it, `flamegraph.pl` and inferno read it.

use crate::profile::{Frame, Origin, Profile, Stack, ValueType};
use crate::sign::may_act;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

/// Writes the values of type number `value`, equal stacks added up, in the order of their text. Stacks without a value
/// are left out. Frames end in `_[k]` (kernel), `_[i]` (inlined) or `_[j]` (JIT).
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, value: usize, out: &mut dyn Write) -> io::Result<()> {
    for (stack, value) in merged(profile, value) {
        writeln!(out, "{stack} {value}")?;
    }
    Ok(())
}

/// Stacks as folded text without its values, and these.
pub(crate) fn merged(profile: &Profile, value: usize) -> BTreeMap<String, u64> {
    let mut stacks = BTreeMap::new();
    for stack in &profile.stacks {
        let count = stack.values.get(value).copied().unwrap_or(0);
        if count > 0 {
            let sum: &mut u64 = stacks.entry(line(stack)).or_default();
            *sum = sum.saturating_add(count);
        }
    }
    stacks
}

fn line(stack: &Stack) -> String {
    if stack.frames.is_empty() {
        return NO_STACK.into();
    }
    let names: Vec<String> = stack.frames.iter().map(|frame| name(frame)).collect();
    names.join(";")
}

const SUFFIXES: [&str; 3] = ["_[k]", "_[i]", "_[j]"];

/// What stands where a sample came without any frame.
const NO_STACK: &str = "[no stack]";

/// A frame's name in folded text, with its suffix.
pub(crate) fn name(frame: &Frame) -> String {
    let mut name = clean(&frame.name);
    name.push_str(match frame.origin {
        _ if frame.inlined => "_[i]",
        Origin::Kernel => "_[k]",
        Origin::Jit => "_[j]",
        Origin::Group | Origin::User => "",
    });
    name
}

/// A name that breaks neither the line nor what is made of it: `;` ends a frame, XML has no control characters, readers
/// take a number behind a space for a value, and a suffix is ours to give.
pub(crate) fn clean(name: &str) -> String {
    let unfit = |c: char| may_act(c) || matches!(c, '\u{fffe}' | '\u{ffff}');
    let mut name: String = name
        .chars()
        .map(|c| match c {
            ';' => ':',
            '\t' | '\n' | '\r' => ' ',
            c if unfit(c) => '?',
            c => c,
        })
        .collect();
    name.truncate(name.trim_end().len());
    while let Some(bare) = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)) {
        name = format!("{bare}{}", &name[bare.len() + 1..]);
    }
    let name = name.trim_start();
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match name.rsplit_once(' ') {
        _ if name.is_empty() => "[unknown]".into(),
        Some((first, last)) if is_number(last) => format!("{}_{last}", first.replace(' ', "_")),
        // `# ` begins a comment.
        _ => name.strip_prefix("# ").map_or_else(|| name.to_owned(), |rest| format!("#-{rest}")),
    }
}

/// A profile from folded text, and what of the text was none.
#[derive(Debug)]
pub struct Read {
    pub profile: Profile,
    /// Lines that hold no stack with a value.
    pub bad: usize,
    /// The numbers, from 1, of the first few of them.
    pub first_bad: Vec<usize>,
}

/// Lines whose numbers are kept.
const BAD_LINES_NAMED: usize = 5;

/// Reads folded text; never fails. Suffixes become what they stand for: an inlined frame is of the origin of the frame
/// that it stands in. A frame without a suffix is one of user space, the first as well: whether that is a process's name
/// or its first function, the text does not tell. Empty lines and those that begin with `# ` are skipped, a value's
/// fraction is cut.
pub fn read(text: &str, title: &str) -> Read {
    let mut read =
        Read { profile: Profile::new(title, vec![ValueType::new("samples", "count")]), bad: 0, first_bad: Vec::new() };
    let mut known = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with("# ") {
            continue;
        }
        match parse(line) {
            Some((frames, value)) => {
                let frames = unfold(frames, &mut known);
                read.profile.stacks.push(Stack { frames, values: vec![value], labels: Vec::new() });
            }
            None => {
                read.bad += 1;
                if read.first_bad.len() < BAD_LINES_NAMED {
                    read.first_bad.push(number + 1);
                }
            }
        }
    }
    read
}

fn parse(line: &str) -> Option<(&str, u64)> {
    let (stack, value) = line.rsplit_once(char::is_whitespace)?;
    let whole = value
        .split_once('.')
        .map_or(Some(value), |(whole, fraction)| fraction.bytes().all(|byte| byte.is_ascii_digit()).then_some(whole))?;
    let stack = stack.trim_end();
    // `parse` alone would take `+5`.
    let value = whole.starts_with(|c: char| c.is_ascii_digit()).then(|| whole.parse().ok())??;
    (!stack.is_empty()).then_some((stack, value))
}

fn unfold(stack: &str, known: &mut HashMap<(String, Origin), Arc<Frame>>) -> Vec<Arc<Frame>> {
    let mut outer = Origin::User;
    let mut frames = Vec::new();
    if stack == NO_STACK {
        return frames;
    }
    for text in stack.split(';') {
        let origin = match text.get(text.len().saturating_sub(4)..) {
            Some("_[k]") => Origin::Kernel,
            Some("_[j]") => Origin::Jit,
            Some("_[i]") => outer,
            _ => Origin::User,
        };
        outer = origin;
        // Not by the text alone: an inlined frame may stand in the kernel here and in user space there.
        let frame = known.entry((text.to_owned(), origin)).or_insert_with(|| Arc::new(frame(text, origin)));
        frames.push(frame.clone());
    }
    frames
}

fn frame(text: &str, origin: Origin) -> Frame {
    let bare = SUFFIXES.iter().find_map(|suffix| text.strip_suffix(suffix)).unwrap_or(text);
    let mut frame = Frame::named(bare, origin);
    frame.inlined = text.ends_with("_[i]");
    frame.unresolved = unresolved(bare);
    frame
}

/// Names that stand for an address nobody could name: `[unknown]`, perf's `[libc.so.6]`, `0x7f12`, `libc.so.6+0x2a1b4`.
pub(crate) fn unresolved(name: &str) -> Option<&'static str> {
    let is_hex = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let offset =
        |(module, digits): (&str, &str)| !module.is_empty() && module.contains(['.', '/', '[']) && is_hex(digits);
    let nameless = (name.starts_with('[') && name.ends_with(']'))
        || name.strip_prefix("0x").is_some_and(is_hex)
        || name.rsplit_once("+0x").is_some_and(offset);
    nameless.then_some("no name where it was read from")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(profile: &Profile) -> String {
        let mut out = Vec::new();
        write(profile, 0, &mut out).expect("a vector takes everything");
        String::from_utf8(out).expect("names are text")
    }

    fn stack(frames: &[(&str, Origin, bool)], value: u64) -> Stack {
        let frames = frames.iter().map(|&(name, origin, inlined)| {
            let mut frame = Frame::named(name, origin);
            frame.inlined = inlined;
            Arc::new(frame)
        });
        Stack { frames: frames.collect(), values: vec![value], labels: Vec::new() }
    }

    #[test]
    fn equal_stacks_are_added_up_and_sorted() {
        let mut profile = Profile::new("t", vec![ValueType::new("samples", "count")]);
        profile.stacks = vec![
            stack(
                &[("sh", Origin::Group, false), ("main", Origin::User, false), ("vfs_read", Origin::Kernel, false)],
                3,
            ),
            stack(&[("node", Origin::Group, false), ("run", Origin::Jit, false), ("add", Origin::Jit, true)], 2),
            stack(
                &[("sh", Origin::Group, false), ("main", Origin::User, false), ("vfs_read", Origin::Kernel, false)],
                4,
            ),
            stack(&[("idle", Origin::User, false)], 0),
            stack(&[], 1),
        ];
        assert_eq!(text(&profile), "[no stack] 1\nnode;run_[j];add_[i] 2\nsh;main;vfs_read_[k] 7\n");
    }

    #[test]
    fn names_cannot_break_a_line() {
        for (name, shown) in [
            ("[u8; 8]::get", "[u8: 8]::get"),
            ("two\nlines", "two lines"),
            ("bell\u{7}", "bell?"),
            ("", "[unknown]"),
            (" padded ", "padded"),
            ("tokio worker 12", "tokio_worker_12"),
            ("operator new", "operator new"),
            ("sh_[k]", "sh[k]"),
            ("# not a comment", "#-not a comment"),
        ] {
            assert_eq!(clean(name), shown);
        }
    }

    #[test]
    fn bad_lines_are_counted_and_named() {
        let read = read(
            "a;b 3\n\n# by hand\nno value\na;c x\n 7\na;d -1\na;e +5\n;f 2\na;g 1.75\nx y z\n99999999999999999999 1\nh 99999999999999999999",
            "t",
        );
        assert_eq!((read.bad, read.first_bad), (7, vec![4, 5, 6, 7, 8]));
        assert_eq!(read.profile.total(0), 3 + 2 + 1 + 1);
    }

    #[test]
    fn an_inlined_frame_is_of_its_holders_origin() {
        let read = read("sh;main;add_[i];sys_read_[k];copy_[i] 1\n", "t");
        let origins: Vec<_> = read.profile.stacks[0].frames.iter().map(|frame| (frame.origin, frame.inlined)).collect();
        let (user, kernel) = (Origin::User, Origin::Kernel);
        assert_eq!(origins, [(user, false), (user, false), (user, true), (kernel, false), (kernel, true)]);
    }

    #[test]
    fn frames_without_a_name_are_told_from_those_that_have_one() {
        for name in ["[unknown]", "[libc.so.6]", "0xffff8000", "libc.so.6+0x2a1b4", "[vdso]+0x10"] {
            assert!(unresolved(name).is_some(), "{name}");
        }
        for name in ["main", "0xzz", "operator+", "do_syscall_64", "entry_SYSCALL_64_after_hwframe+0x76"] {
            assert!(unresolved(name).is_none(), "{name}");
        }
    }

    /// Numbers that look random and are the same on every run: a xorshift.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % end as u64) as usize
        }
    }

    #[test]
    fn what_was_written_reads_back_the_same() {
        let parts = ["main", ";", " ", "12", "\n", "ä", "<T>", "_[k]", "0x1f", "\u{1}", "::", "# ", "."];
        let origins = [Origin::Kernel, Origin::User, Origin::Jit, Origin::Group];
        let mut numbers = Numbers(23);
        for _ in 0..500 {
            let mut profile = Profile::new("t", vec![ValueType::new("samples", "count")]);
            for _ in 0..numbers.below(7) {
                let frames: Vec<_> = (0..numbers.below(5))
                    .map(|_| {
                        let name: String = (0..numbers.below(5)).map(|_| parts[numbers.below(parts.len())]).collect();
                        (name, origins[numbers.below(4)], numbers.below(4) == 0)
                    })
                    .collect();
                let frames: Vec<_> =
                    frames.iter().map(|(name, origin, inlined)| (&name[..], *origin, *inlined)).collect();
                profile.stacks.push(stack(&frames, numbers.below(100) as u64));
            }
            let first = text(&profile);
            let again = read(&first, "t");
            assert_eq!(again.bad, 0, "{first}");
            assert_eq!(again.profile.total(0), profile.total(0), "{first}");
            assert_eq!(text(&again.profile), first);
        }
    }
}
