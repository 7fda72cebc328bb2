//! Preparing: from one entry of the plan to specialised templates: which programs, what their slots hold, how their maps
//! are sized, what they attach to. Needs no privilege; nothing is loaded.

mod columns;
mod constants;
mod draft;
mod resolved;
mod restrict;
mod unit;

pub use columns::{columns_slot, size, unify};
pub use constants::{RECORD_HEADER, chosen};
pub use draft::{Draft, drafts, uses};
pub use resolved::too_large;
pub use restrict::Restrict;
pub use unit::{Attach, Load, Prepared, Program, Slots, Unit, merge};

use crate::aggregate::column::Show;
use crate::diagnostic::Diagnostic;
use crate::expr::Expr;
use crate::machine::Machine;
use crate::plan::{self, Entry, Output, Source};
use crate::resolve::Typed;
use crate::span;
use crate::template;
use crate::unwind::way;
use constants::{constants_of, shape};
use draft::wanted;
use resolved::Resolved;
use skep_templates::catalog::Catalog;
use std::collections::HashMap;

/// What an entry is prepared with.
#[derive(Clone, Copy)]
pub struct Here<'a> {
    pub catalog: &'a Catalog,
    pub machine: &'a Machine,
    pub restrict: &'a Restrict,
}

/// Prepares the plan's entry number `index`.
///
/// # Errors
/// A script diagnostic at the part that is wrong, a machine diagnostic where something is missing here.
pub fn prepare(
    entry: &Entry,
    index: usize,
    catalog: &Catalog,
    machine: &Machine,
    restrict: &Restrict,
) -> Result<Prepared, Diagnostic> {
    let here = Here { catalog, machine, restrict };
    let copies = restrict.unwind.copies(entry)?;
    let drafts = match &entry.source {
        Source::Probe(written) => {
            span::none_of(entry, &[])?;
            let expressions: Vec<&Expr> = entry.expressions().collect();
            let mut drafts = drafts(written, &expressions, uses(&expressions), (index as u64) << 16, here)
                .map_err(|error| error.at(entry.position))?;
            for draft in drafts.iter_mut().filter(|draft| !draft.scope.has_task) {
                draft.constants.push(("wanted".into(), wanted(entry, &draft.scope).to_ne_bytes().to_vec()));
            }
            if let Some(longest) = copies {
                drafts.iter_mut().try_for_each(|draft| way::copy_stacks(draft, longest, catalog))?;
            }
            drafts
        }
        Source::Span(span) => return span::prepare(entry, span, index, here),
        Source::Template { name, parameters } => {
            let (mut draft, restrict) = template::draft(name, parameters, catalog, machine, restrict, entry.position)?;
            span::none_of(entry, &draft.scope.fields)?;
            if let Output::Stream { then: plan::Then::Packets(_), .. } = &entry.output {
                template::packets::have_frames(&draft.programs).map_err(|error| error.at(entry.position))?;
            }
            draft.constants.push(("wanted".into(), wanted(entry, &draft.scope).to_ne_bytes().to_vec()));
            let prepared = from_drafts(entry, index, vec![draft], machine, &restrict)?;
            // The kernel that is here says it itself when it loads the programs.
            if let Some(types) = machine.types_of_another() {
                prepared
                    .units
                    .iter()
                    .try_for_each(|unit| template::fit::check(unit, &types))
                    .map_err(|error| error.at(entry.position))?;
            }
            return Ok(prepared);
        }
    };
    from_drafts(entry, index, drafts, machine, restrict)
}

/// The entry's expressions compiled for every draft.
pub fn from_drafts(
    entry: &Entry,
    index: usize,
    drafts: Vec<Draft>,
    machine: &Machine,
    restrict: &Restrict,
) -> Result<Prepared, Diagnostic> {
    let copies = restrict.unwind.copies(entry)?;
    let mut resolved = Vec::with_capacity(drafts.len());
    for draft in &drafts {
        resolved.push(Resolved::new(entry, &draft.scope, restrict, machine)?);
    }
    if copies.is_some() {
        resolved.iter_mut().flat_map(|one| &mut one.columns).for_each(way::without_number);
    }
    let typed: Vec<&[Typed]> = resolved.iter().map(|one| one.columns.as_slice()).collect();
    let streamed = match &entry.output {
        Output::Stream { columns, .. } => columns.as_slice(),
        _ => &[],
    };
    let named: Vec<&plan::Column> = entry.key.iter().chain(streamed).collect();
    let columns = unify(&named, &typed, entry)?;
    let size = size(&columns);
    let aggregate = shape(entry, size)?.filter(|_| copies.is_none());
    let record_size = RECORD_HEADER + size as u32;
    let first = &resolved[0];
    let (value_unsigned, value_show) =
        first.value.as_ref().map_or((true, Show::Decimal), |(_, unsigned, show)| (*unsigned, *show));
    let mut units: Vec<Unit> = Vec::new();
    let mut probes = HashMap::new();
    for (draft, resolved) in drafts.into_iter().zip(&resolved) {
        let slots = resolved
            .slots(&columns, aggregate.is_some() || copies.is_some())
            .map_err(|error| error.at(entry.position))?;
        let slots = Slots { guard: draft.slots.guard, key: draft.slots.key, ..slots };
        let mut constants = draft.constants;
        constants.push(("filter".into(), chosen(slots.filter.is_some(), restrict.follows(&draft.scope))));
        constants.extend(constants_of(entry, index, &slots, resolved, aggregate, record_size));
        let unit = Unit {
            template: draft.template,
            takes_stacks: draft.takes_stacks,
            programs: draft.programs,
            constants,
            slots,
            reason: draft.reason,
        };
        for attach in unit.programs.iter().flat_map(|program| &program.attach) {
            probes.insert(attach.cookie, attach.shown.clone());
        }
        merge(&mut units, unit);
    }
    Ok(Prepared { units, span: None, columns, value_unsigned, value_show, aggregate, record_size, probes, copies })
}
