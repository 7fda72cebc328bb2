//! `.csv(path)` and `.json()`: tables for other programs.

use super::host::{Fallible, raise};
use super::names::Names;
use super::probe::Probe;
use super::values::TableValue;
use crate::aggregate::table::Table;
use crate::confine::outputs;
use crate::diagnostic::Diagnostic;
use crate::kernel::load;
use crate::report;
use rhai::{Engine, ImmutableString, NativeCallContext};

pub fn register(engine: &mut Engine) {
    engine.register_fn("csv", |context: NativeCallContext, table: &mut TableValue, path: ImmutableString| {
        table.taken.set(true);
        write(&table.table, &table.names, &path).or_else(|error| raise(error, context.call_position()))
    });
    engine.register_fn("csv", |context: NativeCallContext, probe: Probe, path: ImmutableString| -> Fallible<()> {
        let table = now(&context, &probe)?;
        write(&table, &probe.host.names, &path).or_else(|error| raise(error, context.call_position()))
    });
    engine.register_fn("json", |context: NativeCallContext, probe: Probe| -> Fallible<String> {
        let table = now(&context, &probe)?;
        Ok(report::json::table(&table, &*probe.host.names).to_string())
    });
}

/// What a chain has by now.
fn now(context: &NativeCallContext, probe: &Probe) -> Fallible<Table> {
    match probe.host.table(probe.chain) {
        Ok(Some(table)) => {
            probe.host.chains.borrow()[probe.chain].taken.set(true);
            Ok(table)
        }
        Ok(None) => {
            let error = Diagnostic::script("this chain has no values yet");
            raise(error.help(format!(".run(\"10s\").{}(…)", context.fn_name())), context.call_position())
        }
        Err(diagnostic) => raise(diagnostic, context.call_position()),
    }
}

fn write(table: &Table, names: &Names, path: &str) -> Result<(), Diagnostic> {
    let (heading, rows) = report::csv::table(table, names, None);
    save(path, &[heading, rows].concat())
}

/// # Errors
/// A machine diagnostic: the file cannot be written.
pub fn save(path: &str, text: &str) -> Result<(), Diagnostic> {
    outputs::may("write", path)?;
    std::fs::write(path, text)
        .map_err(|error| Diagnostic::machine(format!("failed to write `{path}`: {}", load::text(&error))).span(path))
}
