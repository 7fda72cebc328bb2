//! How columns, kinds of values and counters stand in a recording. The numbers here are the format: none is ever reused.

use super::wire::{Reader, Writer};
use crate::aggregate::cell::Kind;
use crate::aggregate::column::{BytesShow, ColumnKind, ColumnType, Enumeration, Show, StackShow};
use crate::trust::Trust;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A column of a key or a record is never longer; a record is far shorter.
const LONGEST: u16 = 1 << 14;
/// Bytes of enumerations that all recordings of a process may bring: the kernel's largest have some ten thousand.
const MOST_ENUMERATED: usize = 64 << 20;

pub fn write_column(out: &mut Writer, column: &ColumnType) {
    out.text(&column.name);
    out.maybe(column.unit.as_deref(), Writer::text);
    match column.kind {
        ColumnKind::Int { size, signed, show } => {
            out.byte(0);
            out.byte(size);
            out.flag(signed);
            write_show(out, show);
        }
        ColumnKind::Text { size } => {
            out.byte(1);
            out.number(size.into());
        }
        ColumnKind::Bytes { size, show } => {
            out.byte(2);
            out.number(size.into());
            out.byte(match show {
                BytesShow::Hex => 0,
                BytesShow::Ip => 1,
                BytesShow::Mac => 2,
                BytesShow::Text => 3,
                BytesShow::UserSymbol => 4,
            });
        }
        ColumnKind::Path { size } => {
            out.byte(3);
            out.number(size.into());
        }
        ColumnKind::Called(show) => {
            out.byte(4);
            write_stack(out, show);
        }
    }
}

pub fn read_column(from: &mut Reader<'_>) -> Option<ColumnType> {
    let name = from.text()?;
    let unit = from.maybe(Reader::text)?;
    let size = |from: &mut Reader<'_>| from.small::<u16>().filter(|size| *size <= LONGEST);
    let kind = match from.byte()? {
        0 => ColumnKind::Int { size: from.byte()?, signed: from.flag()?, show: read_show(from)? },
        1 => ColumnKind::Text { size: size(from)? },
        2 => ColumnKind::Bytes {
            size: size(from)?,
            show: match from.byte()? {
                0 => BytesShow::Hex,
                1 => BytesShow::Ip,
                2 => BytesShow::Mac,
                3 => BytesShow::Text,
                4 => BytesShow::UserSymbol,
                _ => return None,
            },
        },
        3 => ColumnKind::Path { size: size(from)? },
        4 => ColumnKind::Called(read_stack(from)?),
        _ => return None,
    };
    // Other sizes of integers would be no numbers.
    let known = !matches!(kind, ColumnKind::Int { size, .. } if !matches!(size, 1 | 2 | 4 | 8));
    known.then_some(ColumnType { name, kind, unit })
}

/// The number of a way to show values; those of [`Show::Enum`] and [`Show::Stack`] have more behind it.
pub fn show_number(show: &Show) -> u8 {
    match show {
        Show::Decimal => 0,
        Show::Hex => 1,
        Show::Probe => 2,
        Show::Syscall => 3,
        Show::Signal => 4,
        Show::Errno => 5,
        Show::Cgroup => 6,
        Show::User => 7,
        Show::Device => 8,
        Show::Duration => 9,
        Show::KernelSymbol => 10,
        Show::Stack(_) => 11,
        Show::Enum(_) => 12,
    }
}

pub fn write_show(out: &mut Writer, show: Show) {
    out.byte(show_number(&show));
    match show {
        Show::Stack(stack) => write_stack(out, stack),
        Show::Enum(known) => {
            out.text(&known.name);
            out.list(&known.values, |out, (name, value)| {
                out.text(name);
                out.signed(*value);
            });
        }
        _ => {}
    }
}

pub fn read_show(from: &mut Reader<'_>) -> Option<Show> {
    Some(match from.byte()? {
        0 => Show::Decimal,
        1 => Show::Hex,
        2 => Show::Probe,
        3 => Show::Syscall,
        4 => Show::Signal,
        5 => Show::Errno,
        6 => Show::Cgroup,
        7 => Show::User,
        8 => Show::Device,
        9 => Show::Duration,
        10 => Show::KernelSymbol,
        11 => Show::Stack(read_stack(from)?),
        12 => {
            let name = from.text()?;
            let values = from.list(|from| Some((from.text()?, from.signed()?)))?;
            Show::Enum(enumeration(&name, values)?)
        }
        _ => return None,
    })
}

/// Names of an enumeration's values stay as long as the process does: those of recordings have a bound.
fn enumeration(name: &str, values: Vec<(String, i64)>) -> Option<&'static Enumeration> {
    static BYTES: AtomicUsize = AtomicUsize::new(0);
    let bytes = name.len() + values.iter().map(|(name, _)| 32 + name.len()).sum::<usize>();
    let so_far = BYTES.fetch_add(bytes, Ordering::Relaxed);
    (so_far < MOST_ENUMERATED).then(|| Enumeration::shared(name, values))
}

fn write_stack(out: &mut Writer, stack: StackShow) {
    out.flag(stack.user);
    out.byte(stack.depth);
}

fn read_stack(from: &mut Reader<'_>) -> Option<StackShow> {
    Some(StackShow { user: from.flag()?, depth: from.byte()? })
}

pub fn write_kind(out: &mut Writer, kind: Kind) {
    out.byte(match kind {
        Kind::Count => 0,
        Kind::Sum => 1,
        Kind::Avg => 2,
        Kind::Min => 3,
        Kind::Max => 4,
        Kind::Stats => 5,
        Kind::Hist => 6,
        Kind::LHist { .. } => 7,
        Kind::Quantiles => 8,
        Kind::Heavy => 9,
    });
    if let Kind::LHist { min, max, step } = kind {
        [min, max, step].into_iter().for_each(|edge| out.signed(edge));
    }
}

pub fn read_kind(from: &mut Reader<'_>) -> Option<Kind> {
    Some(match from.byte()? {
        0 => Kind::Count,
        1 => Kind::Sum,
        2 => Kind::Avg,
        3 => Kind::Min,
        4 => Kind::Max,
        5 => Kind::Stats,
        6 => Kind::Hist,
        7 => Kind::lhist(from.signed()?, from.signed()?, from.signed()?).ok()?,
        8 => Kind::Quantiles,
        9 => Kind::Heavy,
        _ => return None,
    })
}

/// Counters in the order of the format. New ones come at the end: a reader takes those that it knows.
fn counters(trust: &mut Trust) -> [&mut u64; 22] {
    [
        &mut trust.seen,
        &mut trust.filtered,
        &mut trust.counted,
        &mut trust.delivered,
        &mut trust.lost_ring,
        &mut trust.lost_map,
        &mut trust.unmatched,
        &mut trust.nested,
        &mut trust.open,
        &mut trust.lost_stacks,
        &mut trust.frames,
        &mut trust.unresolved,
        &mut trust.stacks,
        &mut trust.incomplete,
        &mut trust.left_out,
        &mut trust.missed,
        &mut trust.limited,
        &mut trust.lasted,
        &mut trust.attached,
        &mut trust.in_kernel,
        &mut trust.here,
        &mut trust.evicted,
    ]
}

pub fn write_trust(out: &mut Writer, trust: &Trust) {
    let mut trust = *trust;
    out.list(&counters(&mut trust), |out, counter| out.number(**counter));
}

pub fn read_trust(from: &mut Reader<'_>) -> Option<Trust> {
    let mut trust = Trust::default();
    let read = from.list(Reader::number)?;
    // What adds up must not wrap, whoever wrote it.
    let known = counters(&mut trust).into_iter().zip(read);
    known.for_each(|(counter, value)| *counter = value.min(u64::MAX >> 8));
    Some(trust)
}
