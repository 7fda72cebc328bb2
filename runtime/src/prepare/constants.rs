//! Constants of a template and the sizes of its maps: what an entry asks for in the terms of skep.bpf.h.

use super::Slots;
use super::resolved::Resolved;
use crate::aggregate::bucket;
use crate::aggregate::cell::Kind;
use crate::aggregate::{heavy, near};
use crate::diagnostic::Diagnostic;
use crate::kernel::map::{self, Shape};
use crate::plan::{Entry, Output, Then};

/// A record begins with the entry's number and four bytes of room.
pub const RECORD_HEADER: u32 = 8;
const KEY_ON_STACK: usize = 64;
const KEY_LONGEST: usize = 1024;
const RECORD_LONGEST: usize = 32 << 10;

/// The aggregation's map.
pub fn shape(entry: &Entry, key: usize) -> Result<Option<Shape>, Diagnostic> {
    let kind = match &entry.output {
        Output::Stream { .. } if key > RECORD_LONGEST => {
            return Err(Diagnostic::script(format!("an event of {key} bytes is too long")).at(entry.position));
        }
        Output::Stream { .. } => return Ok(None),
        Output::Aggregate { kind, .. } => *kind,
        Output::None => Kind::Count,
    };
    if key + 8 > KEY_LONGEST {
        return Err(Diagnostic::script(format!("a key of {key} bytes is too long: at most {}", KEY_LONGEST - 8))
            .at(entry.position)
            .help("shorter texts: str(args.filename, 64)"));
    }
    if kind == Kind::Heavy {
        return heavy_shape(entry, key).map(Some);
    }
    let value_size = kind.cell_size() as u32;
    let buckets = if kind.has_buckets() { bucket::count(kind) } else { 1 };
    Ok(Some(match (key, kind.has_buckets()) {
        // A bucket alone, or nothing at all: an array needs no hashing.
        (0, _) => Shape { map_type: map::PERCPU_ARRAY, key_size: 4, value_size, max_entries: buckets },
        (_, bucketed) => Shape {
            map_type: map::PERCPU_HASH,
            key_size: if bucketed { key + 8 } else { key } as u32,
            value_size,
            max_entries: entry.room(),
        },
    }))
}

/// The table of heavy.bpf.h on each CPU.
fn heavy_shape(entry: &Entry, key: usize) -> Result<Shape, Diagnostic> {
    if key == 0 {
        return Err(Diagnostic::script("`heavy` finds the heaviest of several keys, and there is none")
            .at(entry.position)
            .help(".by(pid, comm).heavy()      (one number for all: .count(), .sum(…))"));
    }
    let (value_size, max_entries) = (heavy::slot_size(key) as u32, heavy::slots(entry.room()));
    Ok(Shape { map_type: map::PERCPU_ARRAY, key_size: 4, value_size, max_entries })
}

/// `enum chosen` of skep.bpf.h. A slot that is not written passes everything.
pub fn chosen(by_slot: bool, followed: bool) -> Vec<u8> {
    vec![if followed { 2 } else { by_slot.into() }]
}

pub fn constants_of(
    entry: &Entry,
    index: usize,
    slots: &Slots,
    resolved: &Resolved,
    aggregate: Option<Shape>,
    record_size: u32,
) -> Vec<(String, Vec<u8>)> {
    let (output, kind) = match &entry.output {
        Output::Stream { .. } => (0u32, None),
        Output::None => (1, None),
        Output::Aggregate { kind, .. } => {
            let number = match kind {
                Kind::Count => 1,
                Kind::Sum => 2,
                Kind::Avg => 3,
                Kind::Min => 4,
                Kind::Max => 5,
                Kind::Stats => 6,
                Kind::Heavy => 7,
                Kind::Hist => 8,
                Kind::LHist { .. } => 9,
                Kind::Quantiles => 10,
            };
            (number, Some(*kind))
        }
    };
    let key_size = match aggregate {
        Some(shape) if kind == Some(Kind::Heavy) => heavy::key_size(shape.value_size as usize),
        shape => shape.map_or(0, |shape| shape.key_size as usize),
    };
    let unsigned = resolved.value.as_ref().is_some_and(|(_, unsigned, _)| *unsigned);
    let flag = |on: bool| vec![u8::from(on)];
    let mut constants = vec![
        ("output", output.to_ne_bytes().to_vec()),
        ("has_key", flag(slots.columns.is_some())),
        ("wide_key", flag(key_size > KEY_ON_STACK)),
        (near::WORDS, near::words(aggregate).to_ne_bytes().to_vec()),
        ("unsigned_value", flag(unsigned)),
        ("source", (index as u32).to_ne_bytes().to_vec()),
        ("record_size", record_size.to_ne_bytes().to_vec()),
    ];
    if let Output::Stream { then: Then::Packets(_), .. } = &entry.output {
        constants.push(("with_packets", flag(true)));
    }
    if kind == Some(Kind::Heavy) {
        constants.push(("key_words", (key_size as u32 / 8).to_ne_bytes().to_vec()));
        constants.push(("stage_slots", heavy::stage_slots(entry.room()).to_ne_bytes().to_vec()));
    }
    if let Some(Kind::LHist { min, max, step }) = kind {
        constants.push(("lhist_min", min.to_ne_bytes().to_vec()));
        constants.push(("lhist_max", max.to_ne_bytes().to_vec()));
        constants.push(("lhist_step", step.to_ne_bytes().to_vec()));
    }
    constants.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
