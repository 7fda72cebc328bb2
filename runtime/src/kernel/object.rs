//! From a template's object to instructions that the kernel takes: parameters set, slots written, calls and maps linked.
//! Parsing and linking are aya-obj's.

use super::core_relo::{Relocation, Relocations};
use super::inline;
use super::map::Map;
use super::propagate::propagated;
use crate::aggregate::near;
use crate::slot::assembler::Insn;
use crate::span;
use crate::symbols::careful::careful;
use aya_obj::btf::BtfFeatures;
use aya_obj::generated::{bpf_insn, bpf_line_info};
use skep_templates::btf::Btf;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A template's object, parsed; one for every set of parameters and slots.
#[derive(Clone)]
pub struct Linker {
    object: aya_obj::Object,
    relocations: Option<Relocations>,
    btf: Vec<u8>,
    /// Names of slots that are no placeholders.
    written: Vec<String>,
    /// Descriptors of the maps with constants.
    constants: Vec<(i32, String)>,
}

/// One program, ready to be loaded.
pub struct Linked {
    pub instructions: Vec<bpf_insn>,
    pub license: std::ffi::CString,
    pub functions: Vec<aya_obj::generated::bpf_func_info>,
    pub lines: Vec<bpf_line_info>,
    pub relocations: Vec<Relocation>,
}

/// A map that the object asks for.
pub struct WantedMap<'a> {
    pub name: &'a str,
    pub content: Content<'a>,
}

pub enum Content<'a> {
    /// `.rodata*`
    Constants(&'a [u8]),
    /// `.data*`, `.bss*`
    Variables(&'a [u8]),
    Shape(super::map::Shape),
}

/// Sections of constants begin with it.
const CONSTANTS: &str = ".rodata";

/// Links are ours to get right: an error here is a bug of skep or a broken template.
type Broken = String;

/// An error with everything behind it: aya-obj's own words stop at the first.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Who resolves CO-RE relocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreBy {
    Kernel,
    /// Linux before 5.17: aya-obj does, with the kernel's whole BTF.
    Us,
}

/// The kernel's whole BTF as aya-obj reads it: 40 ms and 20 MB, so only where the kernel does not relocate, and once.
fn whole_btf() -> Result<&'static aya_obj::btf::Btf, Broken> {
    static BTF: OnceLock<Result<aya_obj::btf::Btf, Broken>> = OnceLock::new();
    let btf = BTF.get_or_init(|| aya_obj::btf::Btf::from_sys_fs().map_err(|error| causes(&error)));
    btf.as_ref().map_err(Broken::clone)
}

impl Linker {
    /// Parses an object. `features`: what BTF this kernel knows.
    pub fn parse(bytes: &[u8], core: CoreBy, features: &BtfFeatures) -> Result<Linker, Broken> {
        // Its reader takes for granted that sections name texts that are there.
        let parsed = careful(|| Linker::parse_whole(bytes, core, features));
        parsed.unwrap_or_else(|| Err("its sections contradict each other".into()))
    }

    fn parse_whole(bytes: &[u8], core: CoreBy, features: &BtfFeatures) -> Result<Linker, Broken> {
        let mut bytes = bytes.to_vec();
        let relocations = match core {
            CoreBy::Kernel => Relocations::take(&mut bytes),
            CoreBy::Us => None,
        };
        let mut object = aya_obj::Object::parse(&bytes).map_err(|error| causes(&error))?;
        let btf = object.fixup_and_sanitize_btf(features).map_err(|error| causes(&error))?;
        let btf = btf.map(aya_obj::btf::Btf::to_bytes).unwrap_or_default();
        Ok(Linker { object, relocations, btf, written: Vec::new(), constants: Vec::new() })
    }

    /// What was just parsed of `bytes`, with its relocations resolved here. To find the types takes longer than all else, so
    /// that each object is done once for all the programs that it becomes.
    pub fn relocated(mut self, bytes: &[u8]) -> Result<Linker, Broken> {
        static DONE: Mutex<BTreeMap<Vec<u8>, Linker>> = Mutex::new(BTreeMap::new());
        let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(linker) = done.get(bytes) {
            return Ok(linker.clone());
        }
        if self.object.has_btf_relocations() {
            self.object.relocate_btf(whole_btf()?).map_err(|error| causes(&error))?;
        }
        done.insert(bytes.to_vec(), self.clone());
        Ok(self)
    }

    /// The object's own BTF, to be loaded beside its programs.
    pub fn btf(&self) -> &[u8] {
        &self.btf
    }

    /// Sets constants by the variable's name; each value has exactly the variable's size.
    pub fn set(&mut self, constants: &[(String, Vec<u8>)]) -> Result<(), Broken> {
        // Templates that were compiled before there was such a thing keep nothing near.
        let is_needed = |name: &str| name != near::WORDS && name != span::IS_NEAR;
        let globals = constants.iter().map(|(name, value)| (name.as_str(), (value.as_slice(), is_needed(name))));
        let globals = globals.collect();
        self.object.patch_map_data(globals).map_err(|error| causes(&error))
    }

    /// Replaces a slot's placeholder; `maps` are those that its code may use.
    pub fn write_slot(&mut self, name: &str, code: &[Insn], maps: &HashMap<String, Map>) -> Result<(), Broken> {
        let slot = self.object.functions.values_mut().find(|function| function.name == name);
        // A template without aggregation has no use for some slots, and the compiler leaves them out.
        let Some(slot) = slot else { return Ok(()) };
        let mut bytes = Vec::with_capacity(8 * code.len());
        for insn in code {
            let insn = match insn.map_ref() {
                None => *insn,
                Some(map) => {
                    let map =
                        maps.get(map.name()).ok_or_else(|| format!("slot `{name}` lacks map `{}`", map.name()))?;
                    Insn { imm: map.number() as i32, ..*insn }
                }
            };
            bytes.extend(insn.to_bytes());
        }
        slot.instructions = aya_obj::copy_instructions(&bytes).map_err(|error| causes(&error))?;
        slot.line_info.line_info.truncate(1);
        slot.line_info.num_info = slot.line_info.line_info.len() as u32;
        // aya-obj finds a function's relocations by `section_offset + length`: a slot longer than its placeholder
        // would take those of the functions behind it. This puts it where no relocation is.
        slot.section_offset = 1 << 40;
        self.written.push(name.to_owned());
        Ok(())
    }

    pub fn maps(&self) -> impl Iterator<Item = WantedMap<'_>> {
        self.object.maps.iter().filter_map(|(name, map)| {
            let content = match map {
                _ if name.starts_with(CONSTANTS) => Content::Constants(map.data()),
                _ if name.starts_with(".data") || name.starts_with(".bss") => Content::Variables(map.data()),
                _ => Content::Shape(super::map::Shape {
                    map_type: map.map_type(),
                    key_size: map.key_size(),
                    value_size: map.value_size(),
                    max_entries: map.max_entries(),
                }),
            };
            let empty = matches!(content, Content::Constants(data) | Content::Variables(data) if data.is_empty());
            (!empty).then_some(WantedMap { name, content })
        })
    }

    /// Leaves out all programs but these: what they alone use need not be there.
    pub fn keep(&mut self, wanted: Vec<&str>) {
        let unwanted: Vec<String> =
            self.object.programs.keys().filter(|name| !wanted.contains(&name.as_str())).cloned().collect();
        for name in unwanted {
            if let Some(program) = self.object.programs.remove(&name) {
                self.object.functions.remove(&program.function_key());
            }
        }
    }

    /// Puts the maps' descriptors in place and joins every program with the functions it calls.
    pub fn link(&mut self, maps: &HashMap<String, Map>) -> Result<(), Broken> {
        self.link_numbers(&maps.iter().map(|(name, map)| (name.clone(), map.as_fd().as_raw_fd())).collect())
    }

    /// The same with any numbers for descriptors, for those who only read the code.
    pub fn link_numbers(&mut self, maps: &HashMap<String, i32>) -> Result<(), Broken> {
        // It takes for granted that relocations are of what it knows.
        careful(|| self.link_parsed(maps)).unwrap_or_else(|| Err("its relocations lead nowhere".into()))
    }

    fn link_parsed(&mut self, maps: &HashMap<String, i32>) -> Result<(), Broken> {
        let text: HashSet<usize> = self.object.functions.keys().map(|(section, _)| *section).collect();
        let declared = self.object.maps.clone();
        let both = maps.iter().filter_map(|(name, number)| {
            declared.get_key_value(name).map(|(name, declared)| (name.as_str(), *number, declared))
        });
        self.object.relocate_maps(both, &text).map_err(|error| causes(&error))?;
        let constants = maps.iter().filter(|(name, _)| name.starts_with(CONSTANTS));
        self.constants = constants.map(|(name, number)| (*number, name.clone())).collect();
        self.object.relocate_calls(&text).map_err(|error| causes(&error))
    }

    /// A linked program by its name.
    pub fn program(&self, name: &str) -> Result<Linked, Broken> {
        let program = self.object.programs.get(name).ok_or_else(|| format!("no program `{name}`"))?;
        let function = self.object.functions.get(&program.function_key());
        let function = function.ok_or_else(|| format!("program `{name}` has no code"))?;
        let functions = function.func_info.func_info.clone();
        let btf = Btf::parse(Cow::Borrowed(self.btf.as_slice())).map_err(|error| causes(&error))?;
        let relocations = self.relocations.as_ref().map(|relocations| relocations.of_program(&functions, &btf));
        let linked = Linked {
            instructions: function.instructions.clone(),
            license: program.license.clone(),
            functions,
            lines: function.line_info.line_info.clone(),
            relocations: relocations.unwrap_or_default(),
        };
        let inlined = inline::inlined(linked, |function| self.written.iter().any(|slot| slot == btf.name(function)));
        Ok(propagated(inlined, |map, at, size| self.constant(map, at, size)))
    }

    /// So many bytes of a map of constants, as a number.
    pub fn constant(&self, map: i32, at: i64, size: usize) -> Option<u64> {
        let (_, name) = self.constants.iter().find(|(number, _)| *number == map)?;
        let at = usize::try_from(at).ok()?;
        let bytes = self.object.maps.get(name)?.data().get(at..at.checked_add(size)?)?;
        let mut whole = [0; 8];
        whole.get_mut(..size)?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(whole))
    }
}
