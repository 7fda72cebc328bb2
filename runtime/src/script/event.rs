//! Events: one streamed record in a script's hands, its columns read when they are asked for.

use super::host::{Fallible, raise};
use super::names::Names;
use super::values;
use crate::aggregate::column::{self, ColumnKind, ColumnType, Value};
use crate::diagnostic::{Diagnostic, nearest};
use crate::stacks::Stacks;
use rhai::{Dynamic, Engine, ImmutableString, NativeCallContext};
use std::collections::BTreeSet;
use std::rc::Rc;

/// What all events of one stream share.
pub struct Schema {
    pub columns: Vec<ColumnType>,
    offsets: Vec<usize>,
    names: Rc<Names>,
    stacks: Option<Rc<Stacks>>,
}

impl Schema {
    pub fn new(columns: Vec<ColumnType>, names: Rc<Names>, stacks: Option<Rc<Stacks>>) -> Schema {
        let offsets = column::offsets(&columns, 0).collect();
        Schema { columns, offsets, names, stacks }
    }

    /// One column of a record.
    pub fn value(&self, n: usize, record: &[u8]) -> Value {
        let value = column::decode(&self.columns[n], record.get(self.offsets[n]..).unwrap_or_default());
        match &self.stacks {
            Some(stacks) => stacks.value(&self.columns[n], value),
            None => value,
        }
    }

    /// All columns of a record, its header left out.
    pub fn values(&self, record: &[u8], into: &mut Vec<Value>) {
        into.truncate(self.columns.len());
        for n in 0..self.columns.len() {
            let bytes = record.get(self.offsets[n]..).unwrap_or_default();
            match (into.get_mut(n), self.columns[n].kind) {
                // The room of the text before it is used again.
                (Some(Value::Text(text)), ColumnKind::Text { size }) => {
                    column::text_into(bytes.get(..size.into()).unwrap_or(bytes), text);
                }
                (Some(value), _) => *value = self.value(n, record),
                (None, _) => into.push(self.value(n, record)),
            }
        }
    }

    fn get(&self, record: &[u8], name: &str) -> Option<Dynamic> {
        let n = self.columns.iter().position(|column| column.name == name)?;
        Some(values::dynamic(&self.value(n, record), &self.columns[n], &self.names))
    }
}

/// One record.
#[derive(Clone)]
pub struct Event {
    pub schema: Rc<Schema>,
    pub record: Rc<[u8]>,
}

/// A column of an event by its name.
fn field(context: &NativeCallContext, event: &Event, name: &str) -> Fallible<Dynamic> {
    if let Some(value) = event.schema.get(&event.record, name) {
        return Ok(value);
    }
    let names = || event.schema.columns.iter().map(|column| column.name.as_str());
    let help = match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {}; .fields(…) says which", names().collect::<Vec<_>>().join(", ")),
    };
    raise(
        Diagnostic::script(format!("this event has no field `{name}`")).span(name).help(help),
        context.call_position(),
    )
}

/// Gives events getters for those of `names` that a text has behind a dot. Rhai makes an error of each name without one
/// before it asks the indexer; and a getter for each of all names takes longer than most scripts.
pub fn name_fields(engine: &mut Engine, text: &str, names: &[String]) {
    let word =
        |part: &str| part.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().map(str::to_owned);
    let words: BTreeSet<String> = text.split('.').skip(1).filter_map(word).collect();
    for name in words.into_iter().filter(|word| names.contains(word)) {
        let own = ImmutableString::from(&name);
        engine.register_get(name, move |context: NativeCallContext, event: &mut Event| field(&context, event, &own));
    }
}

pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Event>("event");
    engine.register_indexer_get(|context: NativeCallContext, event: &mut Event, name: ImmutableString| {
        field(&context, event, &name)
    });
    let show = |event: &mut Event| {
        let mut values = Vec::new();
        event.schema.values(&event.record, &mut values);
        let columns = event.schema.columns.iter().zip(&values);
        let parts: Vec<String> = columns
            .map(|(column, value)| {
                format!("{}={}", column.name, crate::report::text::value(value, column, &*event.schema.names))
            })
            .collect();
        parts.join(" ")
    };
    engine.register_fn("to_string", show).register_fn("to_debug", show);
}
