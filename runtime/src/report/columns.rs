//! Columns: cells side by side, within the width of what shows them. Where room is short, long texts give way: a path keeps
//! its end, a name of a function both its ends. Numbers and addresses stay whole; what has no room beside the others stands
//! on a line below them.

use super::text::Style;
use super::units::escape;
use crate::aggregate::column::{BytesShow, ColumnKind, ColumnType, Show};
use std::io::{self, Write};
use std::ops::Range;

/// What a file or a pipe shows: the width that people expect of a terminal.
pub const USUAL: usize = 80;

/// Spaces before what has no room beside the rest.
const INDENT: usize = 4;

/// Columns of a table have two spaces between them, those of a stream, whose widths are guesses, one.
const GAP: usize = 2;

/// Where nothing is shortened, a text that is longer than this pushes the rest of its own line, and no other.
const ALIGNED: usize = 64;

/// A column of a table, its heading first: all cells in one text, since there may be a million of them.
pub(super) struct Column {
    text: String,
    /// Where each cell ends.
    ends: Vec<usize>,
    right: bool,
}

impl Column {
    pub(super) fn new(heading: &str, right: bool) -> Column {
        Column { text: heading.to_owned(), ends: vec![heading.len()], right }
    }

    /// The next cell is what `write` appends.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.ends.push(self.text.len());
    }

    fn cell(&self, row: usize) -> &str {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.text[start..self.ends[row]]
    }

    fn cells(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|row| self.cell(row))
    }
}

/// Writes a table.
///
/// # Errors
/// Those of `out`.
pub(super) fn table(out: &mut impl Write, columns: &[Column], style: &Style) -> io::Result<()> {
    let limit = style.width.unwrap_or(usize::MAX);
    let most = |column: &Column| if column.right || style.width.is_some() { usize::MAX } else { ALIGNED };
    let longest = |column: &Column| column.cells().map(length).filter(|length| *length <= most(column)).max();
    let mut widths: Vec<usize> = columns.iter().map(|column| longest(column).unwrap_or(0)).collect();
    if broken_at(&widths, GAP, limit) < widths.len() {
        let least = |(column, width): (&Column, &usize)| {
            let whole = column.cells().filter(|cell| column.right || is_whole(cell)).map(length).max();
            least(limit).max(length(column.cell(0))).max(whole.unwrap_or(0)).min(*width)
        };
        let leasts: Vec<usize> = columns.iter().zip(&widths).map(least).collect();
        widths = narrowed(&widths, &leasts, GAP, limit).unwrap_or(widths);
    }
    let (lines, mut text) = (broken(&widths, limit), String::new());
    for row in 0..columns.first().map_or(0, |column| column.ends.len()) {
        for line in &lines {
            let (on, off) = if row == 0 { style.heading() } else { ("", "") };
            text.clear();
            text.push_str(on);
            blanks(&mut text, if line.start == 0 { 0 } else { INDENT });
            let start = text.len();
            for (column, width) in columns[line.clone()].iter().zip(&widths[line.clone()]) {
                let most = style.width.map_or(usize::MAX, |limit| limit.min(*width));
                padded(&mut text, column.cell(row), *width, most, column.right);
                blanks(&mut text, GAP);
            }
            text.truncate(start + text[start..].trim_end().len());
            text.push_str(off);
            text.push('\n');
            out.write_all(text.as_bytes())?;
        }
    }
    Ok(())
}

/// Appends a cell with the blanks that it lacks; of one that is longer than `most`, a part.
fn padded(out: &mut String, cell: &str, width: usize, most: usize, right: bool) {
    let length = length(cell);
    let lacks = width.saturating_sub(length.min(most));
    blanks(out, if right { lacks } else { 0 });
    match length > most {
        true => out.push_str(&shortened(cell, most)),
        false => out.push_str(cell),
    }
    blanks(out, if right { 0 } else { lacks });
}

fn blanks(out: &mut String, mut count: usize) {
    const SOME: &str = "                                ";
    while count > 0 {
        let now = count.min(SOME.len());
        out.push_str(&SOME[..now]);
        count -= now;
    }
}

/// How wide the columns of a stream are: the widest value of none is known yet. Where the usual widths find no room, the
/// widest give way first.
pub fn streamed(columns: &[ColumnType], limit: Option<usize>) -> Vec<usize> {
    let limit = limit.unwrap_or(usize::MAX);
    let name = |column: &ColumnType| column.name.chars().count();
    let mut widths: Vec<usize> = columns.iter().map(|column| usual(column).0.max(name(column))).collect();
    let mut leasts: Vec<usize> = columns.iter().map(|column| usual(column).1.max(name(column))).collect();
    if let (Some(width), Some(least), Some(last)) = (widths.last_mut(), leasts.last_mut(), columns.last()) {
        // Nothing stands behind it: a text has what room there is, and a quarter of the line at least.
        *width = match last.kind {
            ColumnKind::Text { size } | ColumnKind::Path { size } => usize::from(size).min(limit / 4),
            _ => 0,
        }
        .max(name(last));
        *least = *width;
    }
    narrowed(&widths, &leasts, 1, limit).unwrap_or(leasts)
}

/// How wide values usually are, and most of them.
fn usual(column: &ColumnType) -> (usize, usize) {
    match column.kind {
        ColumnKind::Int { .. } if column.name == "nsecs" => (15, 15),
        ColumnKind::Int { .. } if column.name.ends_with("port") => (5, 5),
        ColumnKind::Int { show: Show::Hex, .. } => (18, 18),
        ColumnKind::Int { show: Show::Probe, .. } => (22, 18),
        ColumnKind::Int { show: Show::Decimal, .. } => (7, 5),
        ColumnKind::Int { show: Show::Enum(names), .. } => {
            let longest = names.values.iter().map(|(name, _)| length(name)).max().unwrap_or(0);
            (longest.clamp(7, 16), 7)
        }
        ColumnKind::Int { .. } => (7, 7),
        ColumnKind::Text { size } => (usize::from(size).min(16), usize::from(size).min(8)),
        ColumnKind::Bytes { show: BytesShow::UserSymbol, .. } => (22, 16),
        ColumnKind::Bytes { .. } => (15, 11),
        ColumnKind::Path { .. } | ColumnKind::Called(_) => (32, 16),
    }
}

/// Appends a line of a stream. A cell that is wider than its column takes its room from the spaces behind it, and where
/// the line would be too long, from those before it.
pub fn line(out: &mut String, cells: &mut [String], widths: &[usize], limit: Option<usize>) {
    let room = limit.unwrap_or(usize::MAX);
    let mut lengths: Vec<usize> = cells.iter().map(length).collect();
    let leasts: Vec<usize> = cells.iter().zip(&lengths).map(|(cell, length)| least_of(cell, *length, room)).collect();
    match narrowed(&lengths, &leasts, 1, room) {
        Some(narrower) => {
            for (cell, width) in cells.iter_mut().zip(&narrower).filter(|(cell, width)| length(cell) > **width) {
                *cell = shortened(cell, *width);
            }
            lengths = narrower;
        }
        None if cells.len() > 1 => {
            let first = broken_at(&lengths, 1, room).max(1);
            let (head, tail) = cells.split_at_mut(first);
            line(out, head, &widths[..first], limit);
            out.extend(std::iter::once('\n').chain(std::iter::repeat_n(' ', INDENT)));
            return line(out, tail, &widths[first..], limit.map(|room| room.saturating_sub(INDENT)));
        }
        None => {}
    }
    let (mut starts, mut usual, mut free) = (Vec::with_capacity(cells.len()), 0, 0);
    for (length, width) in lengths.iter().zip(widths) {
        starts.push(usual.max(free));
        free = usual.max(free) + length + 1;
        usual += width + 1;
    }
    let mut next = room.saturating_add(1);
    for (start, length) in starts.iter_mut().zip(&lengths).rev() {
        *start = (*start).min(next.saturating_sub(length + 1));
        next = *start;
    }
    let mut at = 0;
    for ((cell, length), start) in cells.iter().zip(&lengths).zip(starts) {
        out.extend(std::iter::repeat_n(' ', start.saturating_sub(at)));
        out.push_str(cell);
        at = start.max(at) + length;
    }
    out.truncate(out.trim_end_matches(' ').len());
}

/// Shortens those of `texts` that may be, so that all of them and `taken` more columns have room.
pub(super) fn fit(texts: &mut [String], taken: usize, limit: Option<usize>) {
    let Some(limit) = limit else { return };
    let lengths: Vec<usize> = texts.iter().map(length).collect();
    let leasts: Vec<usize> = texts.iter().zip(&lengths).map(|(text, length)| least_of(text, *length, limit)).collect();
    if let Some(widths) = narrowed(&lengths, &leasts, 0, limit.saturating_sub(taken)) {
        texts.iter_mut().zip(widths).for_each(|(text, width)| *text = shortened(text, width));
    }
}

/// Widths that fit, none of them below its least: the widest give way. `None` if that is not enough.
fn narrowed(widths: &[usize], leasts: &[usize], gap: usize, limit: usize) -> Option<Vec<usize>> {
    let mut widths = widths.to_vec();
    let mut excess = (widths.iter().sum::<usize>() + gap * widths.len().saturating_sub(1)).saturating_sub(limit);
    while excess > 0 {
        let yielding = (0..widths.len()).filter(|n| widths[*n] > leasts[*n]);
        let widest = yielding.max_by_key(|n| widths[*n])?;
        widths[widest] -= 1;
        excess -= 1;
    }
    Some(widths)
}

/// The lines that columns of these widths take.
fn broken(widths: &[usize], limit: usize) -> Vec<Range<usize>> {
    let (mut lines, mut start, mut room) = (Vec::new(), 0, limit);
    while start < widths.len() {
        let end = start + broken_at(&widths[start..], GAP, room).max(1);
        lines.push(start..end);
        (start, room) = (end, limit.saturating_sub(INDENT));
    }
    lines
}

/// How many of them have room in one line.
fn broken_at(widths: &[usize], gap: usize, room: usize) -> usize {
    let ends = widths.iter().scan(0, |end, width| {
        *end += width + gap;
        Some(*end - gap)
    });
    ends.take_while(|end| *end <= room).count()
}

/// No text is made shorter than this: what is left would say too little.
fn least(limit: usize) -> usize {
    limit / 5
}

fn least_of(text: &str, length: usize, limit: usize) -> usize {
    if is_whole(text) { length } else { least(limit).min(length) }
}

/// Numbers, addresses: a part of them would be another one.
fn is_whole(text: &str) -> bool {
    !text.starts_with('/') && text.chars().all(|c| c.is_ascii_hexdigit() || ".,:+-x/%".contains(c))
}

/// At most `width` characters; an ellipsis stands for what is left out.
pub fn shortened(text: &str, width: usize) -> String {
    let length = length(text);
    if length <= width {
        return text.into();
    }
    let kept = width.saturating_sub(1);
    let front = match text {
        // What is in front of a file's name is often the same.
        path if path.starts_with('/') && !path.contains(' ') => 0,
        // Rust, C++: modules, the function.
        name if name.contains("::") => kept / 3,
        _ => kept,
    };
    let ellipsis = (width > 0).then_some('…');
    text.chars().take(front).chain(ellipsis).chain(text.chars().skip(length - (kept - front))).collect()
}

fn length(text: impl AsRef<str>) -> usize {
    let text = text.as_ref();
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// Breaks a text at its spaces; a longer word keeps a line of its own. At least one line.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in escape(text).split(' ') {
        let length = length(word);
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        let Some(line) = lines.last_mut() else { break };
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        *line += word;
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(columns: &[(&[&str], bool)], width: Option<usize>) -> String {
        let column = |(cells, right): &(&[&str], bool)| {
            let mut column = Column::new(cells[0], *right);
            cells[1..].iter().for_each(|cell| column.push(|out| out.push_str(cell)));
            column
        };
        let columns: Vec<Column> = columns.iter().map(column).collect();
        let mut out = Vec::new();
        table(&mut out, &columns, &Style { colour: false, width }).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn streamed_line(cells: &[&str], widths: &[usize], limit: usize) -> String {
        let mut out = String::new();
        line(&mut out, &mut cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>(), widths, Some(limit));
        out
    }

    #[test]
    fn path_keeps_its_end_a_function_both_and_other_text_its_beginning() {
        assert_eq!(shortened("/usr/lib/gconv/gconv-modules.cache", 20), "…gconv-modules.cache");
        assert_eq!(shortened("<alloc::raw_vec::RawVecInner>::try_allocate_in", 31), "<alloc::ra…er>::try_allocate_in");
        assert_eq!(shortened("/bin/sh -c true", 8), "/bin/sh…");
        assert_eq!(["short", "long"].map(|text| shortened(text, 0)), ["", ""]);
    }

    #[test]
    fn widest_text_gives_way_and_no_number_or_address() {
        let file: &[&str] = &["file", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/etc/passwd"];
        let address: &[&str] = &["daddr", "fd00:1234:5678:9abc:def0:1234:5678:9abc", "10.0.0.1"];
        let count: &[&str] = &["count", "12,345", "7"];
        let expected = "\
file                   daddr                                     count
…-linux-gnu/libc.so.6  fd00:1234:5678:9abc:def0:1234:5678:9abc  12,345
/etc/passwd            10.0.0.1                                      7
";
        let text = written(&[(file, false), (address, false), (count, true)], Some(70));
        assert_eq!(text, expected);
    }

    #[test]
    fn what_cannot_be_shortened_stands_below() {
        let address = "fd00:1234:5678:9abc:def0:1234:5678:9abc";
        let columns: [(&[&str], bool); 3] =
            [(&["saddr", address], false), (&["daddr", address], false), (&["count", "23"], true)];
        let expected = format!("saddr\n    daddr{:36}count\n{address}\n    {address}     23\n", "");
        assert_eq!(written(&columns, Some(60)), expected);
        assert_eq!(written(&columns, None).lines().count(), 2);
    }

    #[test]
    fn cell_that_is_too_wide_takes_the_spaces_of_its_neighbours() {
        let widths = [7, 15, 5, 4];
        assert_eq!(streamed_line(&["tcp", "10.9.0.1", "4711", "65"], &widths, 80), "tcp     10.9.0.1        4711  65");
        // The columns behind it stand where they stood.
        assert_eq!(
            streamed_line(&["tcp", "fe80::445a:50ff:fe34", "0", "65"], &widths, 80),
            "tcp     fe80::445a:50ff:fe34 0 65"
        );
        // At the end of the line they move to the front.
        let moved = streamed_line(&["tcp", "10.9.0.1", "4711", "/etc/passwd"], &widths, 36);
        assert_eq!(moved, "tcp     10.9.0.1    4711 /etc/passwd");
        let two = ["2001:db8::1234:5678:9abc:def0", "2001:db8::1234:5678:9abc:def1"];
        assert_eq!(streamed_line(&two, &[15, 15], 40), format!("{}\n    {}", two[0], two[1]));
    }

    #[test]
    fn columns_of_a_stream_give_way_where_they_find_no_room() {
        let column = |name: &str, kind| ColumnType::new(name, kind);
        let address = ColumnKind::Bytes { size: 16, show: BytesShow::Ip };
        let columns = [
            column("task", ColumnKind::Text { size: 16 }),
            column("saddr", address),
            column("sport", ColumnKind::int(2, false, Show::Decimal)),
            column("path", ColumnKind::Path { size: 96 }),
        ];
        assert_eq!(streamed(&columns, Some(80)), [16, 15, 5, 20]);
        // The path has a quarter of the line, the widest of the others give way.
        assert_eq!(streamed(&columns, Some(48)), [14, 14, 5, 12]);
        // Below their leasts they are not pressed.
        assert_eq!(streamed(&columns, Some(20)), [8, 11, 5, 5]);
    }

    #[test]
    fn text_is_wrapped_at_its_spaces() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("", 7), [""]);
    }
}
