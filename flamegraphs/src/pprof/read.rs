//! pprof -> Profile.

use super::wire::{Value, fields};
use crate::error::Error;
use crate::fold;
use crate::profile::{Frame, Label, Module, Origin, Profile, Stack, ValueType};
use flate2::read::MultiGzDecoder;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// What a profile may unpack to: a small file can hold a great deal of nothing.
const MOST_BYTES: u64 = 1 << 30;

/// Does this begin as a gzip'd file does?
pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Reads a profile, gzip'd or bare. Code in `[kernel]` and in kernel modules is the kernel's, code in `[jit]` was written
/// at run time; locations without a function are frames that could not be resolved.
///
/// # Errors
/// Neither gzip nor protobuf; unpacked more than 1 GiB; a reference to nothing; negative values, as a difference has.
pub fn read(bytes: &[u8]) -> Result<Profile, Error> {
    let mut bytes = Cow::Borrowed(bytes);
    if is_gzip(&bytes) {
        let mut plain = Vec::new();
        let unpacked = MultiGzDecoder::new(&*bytes).take(MOST_BYTES + 1).read_to_end(&mut plain);
        unpacked.map_err(|error| Error::new(format!("not a gzip'd file that can be unpacked: {error}")))?;
        if plain.len() as u64 > MOST_BYTES {
            return Err(Error::new("a profile of more than 1 GiB, unpacked"));
        }
        bytes = Cow::Owned(plain);
    }
    let raw = Raw::read(&bytes)?;
    if raw.types.is_empty() {
        return Err(Error::new("not a pprof profile: it has no type of values"));
    }
    raw.resolve()
}

/// The parts of the message, not yet joined.
#[derive(Default)]
struct Raw<'a> {
    texts: Vec<&'a [u8]>,
    types: Vec<(u64, u64)>,
    samples: Vec<&'a [u8]>,
    mappings: HashMap<u64, (u64, u64)>,
    locations: HashMap<u64, Location>,
    /// Name and file.
    functions: HashMap<u64, (u64, u64)>,
    time: u64,
    duration: u64,
    period: Option<(u64, u64)>,
    every: u64,
    comments: Vec<u64>,
}

#[derive(Default)]
struct Location {
    mapping: u64,
    address: u64,
    /// Function and line; the innermost first.
    lines: Vec<(u64, u64)>,
}

impl<'a> Raw<'a> {
    fn read(bytes: &'a [u8]) -> Result<Raw<'a>, Error> {
        let mut raw = Raw::default();
        fields(bytes, |field, value| {
            match field {
                1 => raw.types.push(numbers(value, [1, 2])?.into()),
                2 => raw.samples.push(value.bytes()),
                3 => {
                    let [id, path, build_id] = numbers(value, [1, 5, 6])?;
                    raw.mappings.insert(id, (path, build_id));
                }
                4 => {
                    let [id, mapping, address] = numbers(value, [1, 2, 3])?;
                    let mut location = Location { mapping, address, lines: Vec::new() };
                    fields(value.bytes(), |field, value| {
                        if field == 4 {
                            location.lines.push(numbers(value, [1, 2])?.into());
                        }
                        Ok(())
                    })?;
                    raw.locations.insert(id, location);
                }
                5 => {
                    let [id, name, file] = numbers(value, [1, 2, 4])?;
                    raw.functions.insert(id, (name, file));
                }
                6 => raw.texts.push(value.bytes()),
                9 => raw.time = value.number(),
                10 => raw.duration = value.number(),
                11 => raw.period = Some(numbers(value, [1, 2])?.into()),
                12 => raw.every = value.number(),
                13 => value.add_to(&mut raw.comments)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(raw)
    }

    fn resolve(&self) -> Result<Profile, Error> {
        let types = self.types.iter().map(|of| self.value_type(*of)).collect::<Result<_, _>>()?;
        let title = self.comments.first().map_or(Ok(String::new()), |comment| self.text(*comment))?;
        let mut profile = Profile::new(&title, types);
        profile.duration = Duration::from_nanos(self.duration);
        profile.started = (self.time > 0).then(|| UNIX_EPOCH.checked_add(Duration::from_nanos(self.time))).flatten();
        profile.period = match self.period {
            Some(of) => Some((self.value_type(of)?, self.every)),
            None => None,
        };
        let frames = self.frames()?;
        for sample in &self.samples {
            profile.stacks.push(self.stack(sample, &frames)?);
        }
        Ok(profile)
    }

    fn stack(&self, sample: &[u8], frames: &HashMap<u64, Vec<Arc<Frame>>>) -> Result<Stack, Error> {
        let (mut locations, mut values, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        fields(sample, |field, value| {
            match field {
                1 => value.add_to(&mut locations)?,
                2 => value.add_to(&mut values)?,
                3 => {
                    let [key, text, number] = numbers(value, [1, 2, 3])?;
                    let value = if text > 0 { Label::Text(self.text(text)?) } else { Label::Number(number as i64) };
                    labels.push((self.text(key)?, value));
                }
                _ => {}
            }
            Ok(())
        })?;
        if values.iter().any(|value| i64::try_from(*value).is_err()) {
            return Err(Error::new("a profile with negative values: it is the difference of two"));
        }
        if values.len() != self.types.len() {
            return Err(Error::new("not a pprof profile: a sample has other values than the profile has types"));
        }
        let mut stack = Stack { frames: Vec::new(), values, labels };
        for location in locations.iter().rev() {
            let frames = frames.get(location).ok_or_else(|| nothing("location", *location))?;
            stack.frames.extend(frames.iter().cloned());
        }
        Ok(stack)
    }

    /// Of each location its frames, the outermost first.
    fn frames(&self) -> Result<HashMap<u64, Vec<Arc<Frame>>>, Error> {
        let mut modules = HashMap::new();
        for (id, (path, build_id)) in &self.mappings {
            let build_id = self.text(*build_id)?;
            let module = Module { path: self.text(*path)?, build_id: bytes_of(&build_id) };
            modules.insert(*id, Arc::new(module));
        }
        let mut all = HashMap::new();
        for (id, location) in &self.locations {
            let module = match location.mapping {
                0 => None,
                mapping => Some(modules.get(&mapping).ok_or_else(|| nothing("mapping", mapping))?),
            };
            let mut frames = Vec::new();
            for (at, (function, line)) in location.lines.iter().rev().enumerate() {
                let (name, file) = self.functions.get(function).ok_or_else(|| nothing("function", *function))?;
                let (name, file) = (self.text(*name)?, self.text(*file)?);
                let mut frame = frame_of(&name, module, location.address);
                frame.inlined = at > 0;
                let line = u32::try_from(*line).unwrap_or(0);
                frame.line = (!file.is_empty()).then(|| (file.into(), line));
                frames.push(Arc::new(frame));
            }
            if frames.is_empty() {
                frames.push(Arc::new(frame_of(&nameless(module, location.address), module, location.address)));
            }
            all.insert(*id, frames);
        }
        Ok(all)
    }

    fn value_type(&self, (kind, unit): (u64, u64)) -> Result<ValueType, Error> {
        Ok(ValueType { kind: self.text(kind)?, unit: self.text(unit)? })
    }

    fn text(&self, number: u64) -> Result<String, Error> {
        let text = usize::try_from(number).ok().and_then(|at| self.texts.get(at));
        text.map(|text| String::from_utf8_lossy(text).into_owned()).ok_or_else(|| nothing("text", number))
    }
}

/// The numbers of some fields of a message; 0 where one is missing.
fn numbers<const N: usize>(message: Value<'_>, wanted: [u64; N]) -> Result<[u64; N], Error> {
    let mut found = [0; N];
    fields(message.bytes(), |field, value| {
        if let Some(at) = wanted.iter().position(|one| *one == field) {
            found[at] = value.number();
        }
        Ok(())
    })?;
    Ok(found)
}

fn nothing(kind: &str, id: u64) -> Error {
    Error::new(format!("not a pprof profile: it refers to {kind} {id}, and has none such"))
}

fn frame_of(name: &str, module: Option<&Arc<Module>>, address: u64) -> Frame {
    let mut frame = Frame::named(name, module.map_or(Origin::User, |module| origin(&module.path)));
    frame.unresolved = fold::unresolved(name);
    frame.address = address;
    // What stands for the lack of a module when written is none again.
    frame.module = module.filter(|module| module.path != "[jit]").cloned();
    frame
}

fn nameless(module: Option<&Arc<Module>>, address: u64) -> String {
    match module {
        Some(module) if !module.path.is_empty() => {
            let path = &module.path;
            format!("{}+{address:#x}", path.rsplit_once('/').map_or(&**path, |(_, name)| name))
        }
        _ => format!("{address:#x}"),
    }
}

/// A path in brackets is the kernel's or one of its modules', but for what it maps into every process.
fn origin(path: &str) -> Origin {
    const OF_THE_PROCESS: [&str; 7] = ["[vdso", "[vsyscall", "[stack", "[heap", "[anon", "[unknown", "[uprobes"];
    match path {
        "[jit]" => Origin::Jit,
        path if OF_THE_PROCESS.iter().any(|start| path.starts_with(start)) => Origin::User,
        path if path.starts_with('[') || path.ends_with(".ko") || path.contains(".ko.") => Origin::Kernel,
        _ => Origin::User,
    }
}

/// A build id from its hexadecimal digits.
fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
