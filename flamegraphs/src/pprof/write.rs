//! Profile -> pprof.

use super::wire::Message;
use crate::error::Error;
use crate::profile::{Frame, Label, Module, Origin, Profile, Stack, ValueType};
use flate2::{Compression, GzBuilder};
use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// Writes a profile, gzip'd. Group frames are left out: labels say what they say. Inlined frames are lines of the
/// location that holds their code; a frame that was not resolved keeps its address and gets a function of its shown name.
///
/// Addresses are those of the modules, so mappings start at 0. Code of the kernel without a module is in `[kernel]`, code
/// written at run time in `[jit]`.
///
/// # Errors
/// Those of `out`.
pub fn write(profile: &Profile, out: &mut dyn Write) -> Result<(), Error> {
    // No name, no time: the same profile gives the same bytes.
    let mut gzip = GzBuilder::new().mtime(0).write(out, Compression::default());
    gzip.write_all(&encode(profile))?;
    gzip.finish()?;
    Ok(())
}

/// The profile as protobuf.
fn encode(profile: &Profile) -> Vec<u8> {
    let mut tables = Tables::new(profile);
    let mut message = Message::default();
    for of in &profile.types {
        message.message(1, &tables.value_type(of));
    }
    for stack in &profile.stacks {
        message.message(2, &tables.sample(stack, profile.types.len()));
    }
    if let Some(nanos) = profile.started.and_then(|started| started.duration_since(UNIX_EPOCH).ok()) {
        message.number(9, u64::try_from(nanos.as_nanos()).unwrap_or(0));
    }
    message.number(10, u64::try_from(profile.duration.as_nanos()).unwrap_or(0));
    if let Some((of, period)) = &profile.period {
        message.message(11, &tables.value_type(of));
        message.number(12, *period);
    }
    if !profile.title.is_empty() {
        message.numbers(13, &[tables.text(&profile.title)]);
    }
    tables.write_to(message)
}

/// What samples refer to by number. Ids begin at 1, texts at 0, which is the empty one.
struct Tables {
    texts: Numbered<String>,
    mappings: Numbered<(String, Vec<u8>)>,
    /// Name and file.
    functions: Numbered<(String, String)>,
    locations: Numbered<Location>,
}

/// Mapping, address, and of each line the function and the line's number.
type Location = (u64, u64, Vec<(u64, u64)>);

impl Tables {
    fn new(profile: &Profile) -> Tables {
        let mut tables = Tables {
            texts: Numbered::default(),
            mappings: Numbered::default(),
            functions: Numbered::default(),
            locations: Numbered::default(),
        };
        tables.text("");
        // The first mapping is what readers show as the program: no library, nothing of the kernel.
        let frames = profile.stacks.iter().flat_map(|stack| stack.frames.iter().rev());
        if let Some(program) = frames.filter_map(|frame| frame.module.as_ref()).find(|module| is_program(module)) {
            tables.mappings.number(mapping_of(program));
        }
        tables
    }

    fn text(&mut self, text: &str) -> u64 {
        self.texts.number(text.to_owned()) - 1
    }

    fn value_type(&mut self, of: &ValueType) -> Message {
        let mut message = Message::default();
        message.number(1, self.text(&of.kind));
        message.number(2, self.text(&of.unit));
        message
    }

    fn sample(&mut self, stack: &Stack, types: usize) -> Message {
        let mut message = Message::default();
        message.numbers(1, &self.location_ids(&stack.frames));
        let value = |at: usize| stack.values.get(at).copied().unwrap_or(0).min(i64::MAX as u64);
        message.numbers(2, &(0..types).map(value).collect::<Vec<_>>());
        for (key, value) in &stack.labels {
            let mut label = Message::default();
            label.number(1, self.text(key));
            match value {
                Label::Text(text) => label.number(2, self.text(text)),
                Label::Number(number) => label.number(3, *number as u64),
            }
            message.message(3, &label);
        }
        message
    }

    /// The leaf first; inlined frames go into the location of the frame that holds them, the innermost first.
    fn location_ids(&mut self, frames: &[Arc<Frame>]) -> Vec<u64> {
        let mut ids = Vec::with_capacity(frames.len());
        let mut lines = Vec::new();
        let mut code = frames.iter().filter(|frame| frame.origin != Origin::Group).rev().peekable();
        while let Some(frame) = code.next() {
            let (file, line) = frame.line.as_ref().map_or(("", 0), |(file, line)| (&**file, *line));
            lines.push((self.functions.number((frame.name.clone(), file.to_owned())), u64::from(line)));
            if frame.inlined && code.peek().is_some() {
                continue;
            }
            let mapping = match (&frame.module, frame.origin) {
                (Some(module), _) => self.mappings.number(mapping_of(module)),
                (None, Origin::Kernel) => self.mappings.number(("[kernel]".into(), Vec::new())),
                (None, Origin::Jit) => self.mappings.number(("[jit]".into(), Vec::new())),
                (None, Origin::User | Origin::Group) => 0,
            };
            ids.push(self.locations.number((mapping, frame.address, std::mem::take(&mut lines))));
        }
        ids
    }

    fn write_to(mut self, mut message: Message) -> Vec<u8> {
        let mappings = std::mem::take(&mut self.mappings);
        for (id, (path, build_id)) in mappings.each() {
            let hex: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
            let mut mapping = Message::default();
            mapping.number(1, id);
            mapping.number(5, self.text(path));
            mapping.number(6, self.text(&hex));
            // Names, files, lines and inlined functions are resolved: nobody need look for the file.
            (7..=10).for_each(|field| mapping.number(field, 1));
            message.message(3, &mapping);
        }
        for (id, (mapping, address, lines)) in self.locations.each() {
            let mut location = Message::default();
            location.number(1, id);
            location.number(2, *mapping);
            location.number(3, *address);
            for (function, number) in lines {
                let mut line = Message::default();
                line.number(1, *function);
                line.number(2, *number);
                location.message(4, &line);
            }
            message.message(4, &location);
        }
        let functions = std::mem::take(&mut self.functions);
        for (id, (name, file)) in functions.each() {
            let mut function = Message::default();
            function.number(1, id);
            function.number(2, self.text(name));
            function.number(3, self.text(name));
            function.number(4, self.text(file));
            message.message(5, &function);
        }
        for (_, text) in self.texts.each() {
            message.bytes(6, text.as_bytes());
        }
        message.into_bytes()
    }
}

fn mapping_of(module: &Arc<Module>) -> (String, Vec<u8>) {
    (module.path.clone(), module.build_id.clone().unwrap_or_default())
}

fn is_program(module: &Arc<Module>) -> bool {
    !module.path.starts_with('[') && !module.path.contains(".so") && !module.path.ends_with(".ko")
}

/// Values numbered from 1 as they come, equal ones once.
struct Numbered<T> {
    numbers: HashMap<Arc<T>, u64>,
    values: Vec<Arc<T>>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Numbered { numbers: HashMap::new(), values: Vec::new() }
    }
}

impl<T: std::hash::Hash + Eq> Numbered<T> {
    fn number(&mut self, value: T) -> u64 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let value = Arc::new(value);
        self.values.push(value.clone());
        let number = self.values.len() as u64;
        self.numbers.insert(value, number);
        number
    }

    fn each(&self) -> impl Iterator<Item = (u64, &T)> {
        (1..).zip(self.values.iter().map(|value| &**value))
    }
}
