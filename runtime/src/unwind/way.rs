//! How user stacks are taken.

use crate::aggregate::cell::Kind;
use crate::aggregate::column::{Show, StackShow};
use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::expr::{Function, Node};
use crate::plan::{Column, Entry, Output, Source};
use crate::prepare::Draft;
use crate::resolve::{self, Typed};
use skep_templates::catalog::Catalog;

/// By what `ustack` finds its callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Way {
    /// The kernel follows frame pointers.
    #[default]
    FramePointers,
    /// Up to `longest` bytes of the stack are copied, and unwound here.
    Copies { longest: u32 },
}

/// Copied where nothing else is said: as much as of the stacks of most programs there is.
const USUAL: u32 = 16 << 10;
/// A template's buffer has room for no more: see unwound.bpf.c.
pub const MOST: u32 = 24 << 10;

impl Way {
    /// `fp`, `dwarf`, or as perf has it with a size, `dwarf,8192`.
    ///
    /// # Errors
    /// What it takes.
    pub fn parse(text: &str) -> Result<Way, String> {
        let copies = |longest| Way::Copies { longest };
        match text.split_once(',') {
            None if text == "fp" => Ok(Way::FramePointers),
            None if text == "dwarf" => Ok(copies(USUAL)),
            Some(("dwarf", size)) => match size.parse() {
                Ok(longest @ 256..=MOST) => Ok(copies(longest)),
                _ => Err(format!("`{size}`: bytes of each stack, from 256 to {MOST}")),
            },
            _ => Err("it is `fp`, `dwarf`, or `dwarf,BYTES`".into()),
        }
    }

    /// How much of a stack is copied for this entry; `None` where none is.
    ///
    /// # Errors
    /// It asks for user stacks where none can be copied.
    pub fn copies(self, entry: &Entry) -> Result<Option<u32>, Diagnostic> {
        let Way::Copies { longest } = self else { return Ok(None) };
        let streamed = match &entry.output {
            Output::Stream { columns, .. } => columns.as_slice(),
            _ => &[],
        };
        let Some(column) = entry.key.iter().chain(streamed).find(|column| is_user_stack(column)) else {
            return Ok(None);
        };
        let error = |message: &str| {
            let error = Diagnostic::script(message).span(column.expr.to_string());
            Err(error.at(column.expr.position).at(entry.position))
        };
        let sampled = matches!(&entry.source, Source::Probe(points)
            if points.iter().all(|(_, point)| matches!(point, AttachPoint::Profile { .. })));
        if !sampled {
            return error("`--unwind dwarf` copies stacks of sampled CPU time, and of nothing else")
                .map_err(|error| error.help("without it, or probe(\"profile:hz:99\").by(comm, ustack).count()"));
        }
        match entry.output {
            Output::None | Output::Aggregate { kind: Kind::Count, .. } => Ok(Some(longest)),
            _ => error("`--unwind dwarf` counts stacks, and does nothing else with them")
                .map_err(|error| error.help(".by(comm, ustack).count()")),
        }
    }
}

/// Has a draft of sampled time copy stacks.
///
/// # Errors
/// A bug: its template is missing.
pub fn copy_stacks(draft: &mut Draft, longest: u32, catalog: &Catalog) -> Result<(), Diagnostic> {
    let missing = || Diagnostic::bug("template `unwound` is not in this binary");
    draft.template = catalog.get("unwound").ok_or_else(missing)?.clone();
    draft.constants.push(("longest".into(), longest.to_ne_bytes().to_vec()));
    draft.reason += &format!(", with a copy of up to {longest} bytes of the stack");
    Ok(())
}

/// Of a chain that is unwound here, the kernel says whose it is; its number comes later.
pub fn without_number(column: &mut Typed) {
    if let Typed::Int { int, show: Show::Stack(StackShow { user: true, .. }), .. } = column {
        *int = resolve::process();
    }
}

fn is_user_stack(column: &Column) -> bool {
    column.expr.any(&|node| match node {
        Node::Name(name) | Node::Member(_, name) => name == "ustack",
        Node::Call(function, _) => *function == Function::Ustack,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn way_is_spelled_as_perf_spells_it() {
        assert_eq!(Way::parse("fp"), Ok(Way::FramePointers));
        assert_eq!(Way::parse("dwarf"), Ok(Way::Copies { longest: USUAL }));
        assert_eq!(Way::parse("dwarf,8192"), Ok(Way::Copies { longest: 8192 }));
        for wrong in ["", "lbr", "dwarf,", "dwarf,0", "dwarf,25000", "fp,8192"] {
            assert!(Way::parse(wrong).is_err(), "{wrong}");
        }
    }
}
