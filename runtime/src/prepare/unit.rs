//! What is loaded: templates, specialised, with their programs and what those attach to.

use crate::aggregate::column::{ColumnType, Show};
use crate::kernel::map::Shape;
use crate::kernel::network::Hook;
use crate::points::Mechanism;
use crate::slot::assembler::{Insn, MapRef};
use crate::span::Spans;
use skep_templates::catalog::Template;
use std::collections::HashMap;

/// One entry, ready to be loaded.
#[derive(Clone)]
pub struct Prepared {
    /// Where events come from; of a span, its ends.
    pub units: Vec<Unit>,
    /// The other half of a span.
    pub span: Option<Spans>,
    /// Columns of the key or of the record.
    pub columns: Vec<ColumnType>,
    /// How the aggregated value is to be shown.
    pub value_unsigned: bool,
    pub value_show: Show,
    /// The aggregation's map; `None` for streams.
    pub aggregate: Option<Shape>,
    /// Bytes of a streamed record, its header included.
    pub record_size: u32,
    /// `probe` -> attach point.
    pub probes: HashMap<u64, String>,
    /// Stacks are copied and unwound here, so many bytes of each.
    pub copies: Option<u32>,
}

impl Prepared {
    /// Does it ask for call chains?
    pub fn has_stacks(&self) -> bool {
        let mut units = self.units.iter().chain(self.span.iter().flat_map(|span| &span.units));
        let by_slot = |code: &Vec<Insn>| code.iter().any(|insn| insn.map_ref() == Some(MapRef::Stacks));
        self.copies.is_some()
            || units.any(|unit| unit.takes_stacks || unit.slots.written().any(|(_, code)| by_slot(code)))
    }
}

/// One template, specialised, and where it attaches.
#[derive(Clone)]
pub struct Unit {
    pub template: Template,
    /// The template itself takes call chains.
    pub takes_stacks: bool,
    pub programs: Vec<Program>,
    pub constants: Vec<(String, Vec<u8>)>,
    pub slots: Slots,
    /// Why this way.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub name: String,
    pub load: Load,
    pub attach: Vec<Attach>,
}

/// How a program is loaded.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    Plain(u32),
    /// A tracing program on a tracepoint's prototype.
    TracepointPrototype(String),
    /// A tracing program on a function of the BTF of a module; empty: of the kernel proper.
    Function {
        id: u32,
        module: String,
        returns: bool,
    },
    KprobeMulti,
    UprobeMulti,
    /// A program that meets packets.
    Packets(Hook),
    /// A tracing program on an iterator's prototype.
    Iterator(String),
}

/// One attachment; `cookie` is what `probe` reads there.
#[derive(Clone, Debug, PartialEq)]
pub struct Attach {
    pub shown: String,
    pub mechanism: Mechanism,
    pub cookie: u64,
    /// The program asks for it.
    pub by_cookie: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slots {
    pub filter: Option<Vec<Insn>>,
    pub value: Option<Vec<Insn>>,
    pub columns: Option<Vec<Insn>>,
    /// Of spans only: which starts and ends concern us, and their key.
    pub guard: Option<Vec<Insn>>,
    pub key: Option<Vec<Insn>>,
}

/// The constant that has a trampoline's program see to it that it does not run inside of itself.
pub const GUARDED: &str = "guarded";

impl Unit {
    /// Do its programs take a table of who runs where?
    pub fn is_guarded(&self) -> bool {
        self.constants.iter().any(|(name, value)| name == GUARDED && value == &[1])
    }
}

impl Slots {
    /// Those that are written, under the template's names for them.
    pub fn written(&self) -> impl Iterator<Item = (&'static str, &Vec<Insn>)> {
        let all = [
            ("slot_guard", &self.guard),
            ("slot_key", &self.key),
            ("slot_filter", &self.filter),
            ("slot_value", &self.value),
            ("slot_columns", &self.columns),
        ];
        all.into_iter().filter_map(|(name, code)| Some((name, code.as_ref()?)))
    }
}

/// Adds a unit, or its attach points to one that runs the same code.
pub fn merge(units: &mut Vec<Unit>, unit: Unit) {
    let [program] = unit.programs.as_slice() else { return units.push(unit) };
    if matches!(program.load, Load::Function { .. }) {
        return units.push(unit);
    }
    let generic = |one: &Unit| one.programs.len() == 1;
    let same = units.iter_mut().filter(|one| generic(one)).find(|one| {
        one.template.name == unit.template.name
            && one.slots == unit.slots
            && one.programs[0].name == program.name
            && one.programs[0].load == program.load
            && without_syscall(&one.constants) == without_syscall(&unit.constants)
    });
    let Some(same) = same else { return units.push(unit) };
    let joined = &mut same.programs[0];
    joined.attach.extend(unit.programs.into_iter().flat_map(|program| program.attach));
    if joined.attach.iter().all(|attach| matches!(attach.mechanism, Mechanism::Syscall { .. })) {
        // One program for all of them: which system calls is a set of bits.
        let mut bits = [0u64; 8];
        for attach in &joined.attach {
            if let Mechanism::Syscall { number, .. } = attach.mechanism
                && let Some(word) = bits.get_mut(number as usize / 64)
            {
                *word |= 1 << (number % 64);
            }
        }
        same.constants.retain(|(name, _)| name != "only_syscall" && name != "syscall_bits");
        same.constants.push(("syscall_bits".into(), bits.iter().flat_map(|word| word.to_ne_bytes()).collect()));
        same.reason = format!("raw tracepoint of all system calls, only these {}", joined.attach.len());
    }
}

fn without_syscall(constants: &[(String, Vec<u8>)]) -> Vec<&(String, Vec<u8>)> {
    constants.iter().filter(|(name, _)| name != "only_syscall" && name != "syscall_bits").collect()
}
