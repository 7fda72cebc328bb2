//! An entry's expressions at one attach point, and the slots that they become.

use super::{Restrict, Slots, columns_slot};
use crate::aggregate::column::{ColumnType, Show};
use crate::diagnostic::Diagnostic;
use crate::machine::Machine;
use crate::plan::{Entry, Output};
use crate::resolve::{self, Scope, Typed};
use crate::slot::compile;
use crate::slot::ir::{Int, Test};

/// An entry's expressions at one point.
pub struct Resolved {
    pub filter: Option<Test>,
    pub value: Option<(Int, bool, Show)>,
    pub columns: Vec<Typed>,
}

impl Resolved {
    pub fn new(entry: &Entry, scope: &Scope, restrict: &Restrict, machine: &Machine) -> Result<Resolved, Diagnostic> {
        let mut tests = restrict.tests(scope, machine)?;
        if let Some(filter) = &entry.filter {
            tests.push(resolve::test(filter, scope)?);
        }
        let filter = if tests.len() > 1 { Some(Test::And(tests)) } else { tests.pop() };
        let (value, streamed) = match &entry.output {
            Output::Aggregate { value: Some(value), .. } => (Some(resolve::number(value, scope)?), [].as_slice()),
            Output::Stream { columns, .. } => (None, columns.as_slice()),
            _ => (None, [].as_slice()),
        };
        let columns = entry.key.iter().chain(streamed).map(|column| match resolve::column(&column.expr, scope)? {
            Typed::Test(test) => Ok(Typed::int(Int::Truth(Box::new(test)))),
            other => Ok(other),
        });
        Ok(Resolved { filter, value, columns: columns.collect::<Result<_, Diagnostic>>()? })
    }

    pub fn slots(&self, columns: &[ColumnType], key: bool) -> Result<Slots, Diagnostic> {
        Ok(Slots {
            filter: self.filter.as_ref().map(compile::filter).transpose().map_err(too_large)?,
            value: self.value.as_ref().map(|(int, ..)| compile::value(int)).transpose().map_err(too_large)?,
            columns: columns_slot(columns, &self.columns, key)?,
            ..Default::default()
        })
    }
}

pub fn too_large(error: compile::TooLarge) -> Diagnostic {
    Diagnostic::script(format!("an expression is too large: it {error}"))
        .help("test less in the kernel, and the rest here: .each(|e| if … { … })")
}
