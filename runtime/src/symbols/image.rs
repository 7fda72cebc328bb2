//! One ELF file: addresses of its code -> frames. blazesym reads symbols, DWARF and gsym; what it told is kept.
//!
//! Where a name may come from is tried in turn: with inlined functions and lines wanted, gsym, DWARF, then symbol tables;
//! without them symbol tables first, which cost a few milliseconds where DWARF costs a hundred.

use super::careful::careful;
use super::files;
use super::reason;
use crate::binary::reader::Reader;
use crate::binary::symbols::Segment;
use crate::unwind::frame::Row;
use crate::unwind::tables::Tables;
use blazesym::symbolize::source::{Elf, Gsym, GsymFile, Source};
use blazesym::symbolize::{self, CodeInfo, Input, Reason, Symbolized, Symbolizer};
use skep_flamegraphs::profile::{Frame, Module, Origin};
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Answers that one file keeps; then it starts anew.
const KEPT: usize = 1 << 16;

/// An open file, and what its processes call it.
pub struct Place<'a> {
    pub file: File,
    pub path: &'a str,
    /// The name means the same here: what lies beside it belongs to it.
    pub beside: bool,
}

/// A file that was read.
pub struct Image {
    segments: Vec<Segment>,
    stubs: Vec<Range<u64>>,
    module: Arc<Module>,
    symbolizer: Symbolizer,
    tiers: Vec<Tier>,
    found: HashMap<u64, Rc<Found>>,
    lines: HashMap<PathBuf, Arc<str>>,
    /// Read when first asked for; `None` inside: it has none.
    tables: Option<Option<Tables>>,
    /// Its number stands in `tiers`.
    file: File,
}

/// One place where names come from.
struct Tier {
    source: Source<'static>,
    damaged: bool,
}

/// What an address is.
pub struct Found {
    /// The function, then those that were inlined into it, the innermost last; or one frame without a name.
    pub frames: Vec<Arc<Frame>>,
    /// From the function's start.
    pub offset: u64,
}

impl Image {
    /// Reads the headers alone; symbols when they are first asked for.
    ///
    /// # Errors
    /// No ELF file, or a damaged one.
    pub fn open(place: Place<'_>, inlines: bool) -> Result<Image, &'static str> {
        let layout = files::layout(&place.file)?;
        let build_id = layout.build_id.filter(|id| id.len() > 1);
        let tiers = tiers(&place, build_id.as_deref(), inlines);
        let tiers = tiers.into_iter().map(|source| Tier { source, damaged: false }).collect();
        let module = Arc::new(Module { path: place.path.to_owned(), build_id });
        let symbolizer = symbolizer(inlines);
        let (found, lines) = Default::default();
        let (segments, stubs, file) = (layout.segments, layout.stubs, place.file);
        Ok(Image { segments, stubs, module, symbolizer, tiers, found, lines, tables: None, file })
    }

    /// What its unwind tables say of the code at an offset of the file.
    pub fn unwind(&mut self, file_offset: u64) -> Option<Rc<Row>> {
        let address = self.address(file_offset)?;
        let file = &self.file;
        let tables = self.tables.get_or_insert_with(|| Tables::read(&Reader::new(file.try_clone().ok()?)));
        tables.as_mut()?.row(address)
    }

    /// What lies at an offset of the file.
    pub fn at(&mut self, file_offset: u64) -> Rc<Found> {
        match self.address(file_offset) {
            Some(address) => self.at_address(address),
            None => Rc::new(Found::unresolved(&self.module, file_offset, reason::NOT_CODE)),
        }
    }

    /// The file's own address of an offset in its code.
    fn address(&self, file_offset: u64) -> Option<u64> {
        let inside =
            |segment: &&Segment| (segment.file_offset..segment.file_offset + segment.size).contains(&file_offset);
        let segment = self.segments.iter().find(inside)?;
        Some(segment.address + (file_offset - segment.file_offset))
    }

    fn at_address(&mut self, address: u64) -> Rc<Found> {
        if let Some(found) = self.found.get(&address) {
            return found.clone();
        }
        let found = Rc::new(self.look_up(address));
        if self.found.len() >= KEPT {
            self.found.clear();
        }
        self.found.insert(address, found.clone());
        found
    }

    fn look_up(&mut self, address: u64) -> Found {
        if let Some(stubs) = self.stubs.iter().find(|stubs| stubs.contains(&address)) {
            // The nearest symbol would be `_init`, which stands in front of them.
            let frame = Frame { address, module: Some(self.module.clone()), ..Frame::named("[plt]", Origin::User) };
            return Found { frames: vec![Arc::new(frame)], offset: address - stubs.start };
        }
        let mut why = None;
        for tier in self.tiers.iter_mut().filter(|tier| !tier.damaged) {
            let input = Input::VirtOffset(std::slice::from_ref(&address));
            // A damaged file may lead its reader beyond what that one checks.
            let answer = careful(|| self.symbolizer.symbolize(&tier.source, input));
            why = Some(match answer.map(|symbols| symbols.map(|symbols| symbols.into_iter().next())) {
                Some(Ok(Some(Symbolized::Sym(symbol)))) if !symbol.name.is_empty() => {
                    return found(&symbol, address, &self.module, &mut self.lines);
                }
                Some(Ok(Some(Symbolized::Unknown(Reason::MissingSyms)))) => reason::NO_SYMBOLS,
                Some(Ok(Some(Symbolized::Unknown(Reason::IgnoredError)))) => reason::DAMAGED,
                Some(Ok(_)) if matches!(tier.source, Source::Elf(_)) => {
                    // It has symbols: of stubs (PLT), debug information knows no more.
                    why = Some(reason::NO_SYMBOL_THERE);
                    break;
                }
                Some(Ok(_)) => reason::NO_SYMBOL_THERE,
                Some(Err(_)) | None => {
                    tier.damaged = true;
                    reason::DAMAGED
                }
            });
        }
        Found::unresolved(&self.module, address, why.unwrap_or(reason::DAMAGED))
    }
}

impl Found {
    /// A frame that says what is known: `libc.so.6+0x2a1b4`.
    pub fn unresolved(module: &Arc<Module>, address: u64, reason: &'static str) -> Found {
        let short = module.path.rsplit('/').next().unwrap_or(&module.path);
        let frame = Frame {
            unresolved: Some(reason),
            address,
            module: Some(module.clone()),
            ..Frame::named(&format!("{short}+{address:#x}"), Origin::User)
        };
        Found { frames: vec![Arc::new(frame)], offset: 0 }
    }
}

fn symbolizer(inlines: bool) -> Symbolizer {
    // A file that changes while it is mapped would be read anew for each address.
    Symbolizer::builder().enable_auto_reload(false).enable_code_info(inlines).enable_inlined_fns(inlines).build()
}

fn found(
    symbol: &symbolize::Sym<'_>,
    address: u64,
    module: &Arc<Module>,
    lines: &mut HashMap<PathBuf, Arc<str>>,
) -> Found {
    let mut frame = |name: &str, code: Option<&CodeInfo<'_>>, inlined| {
        let line = code.and_then(|code| {
            let path = code.to_path().into_owned();
            let shown = lines.entry(path).or_insert_with_key(|path| path.to_string_lossy().into());
            Some((shown.clone(), code.line?))
        });
        // Of `memcpy@@GLIBC_2.14` people know the first part.
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        let (address, module) = (address, Some(module.clone()));
        Arc::new(Frame { inlined, address, module, line, ..Frame::named(name, Origin::User) })
    };
    let mut frames = vec![frame(&symbol.name, symbol.code_info.as_deref(), false)];
    frames.extend(symbol.inlined.iter().map(|function| frame(&function.name, function.code_info.as_ref(), true)));
    Found { frames, offset: symbol.offset as u64 }
}

/// Where names of a file may come from, the best first.
fn tiers(place: &Place<'_>, build_id: Option<&[u8]>, inlines: bool) -> Vec<Source<'static>> {
    let own = |debug_syms| elf(&PathBuf::from(format!("/proc/self/fd/{}", place.file.as_raw_fd())), debug_syms);
    let debug = build_id.and_then(|id| installed(id, "debug"));
    let beside = PathBuf::from(format!("{}.gsym", place.path));
    let gsym = build_id.and_then(|id| installed(id, "gsym")).or((place.beside && beside.is_file()).then_some(beside));
    let gsym = gsym.map(|path| Source::Gsym(Gsym::File(GsymFile::new(path))));
    let debug = |debug_syms| debug.as_ref().map(|path| elf(path, debug_syms));
    // A file's own DWARF includes that of its `.gnu_debuglink`.
    let chain = match inlines {
        true => [gsym, debug(true), Some(own(true)), Some(own(false))],
        false => [Some(own(false)), gsym, debug(false), Some(own(true))],
    };
    chain.into_iter().flatten().collect()
}

fn elf(path: &Path, debug_syms: bool) -> Source<'static> {
    let mut elf = Elf::new(path);
    elf.debug_syms = debug_syms;
    Source::Elf(elf)
}

/// A file of debug information as packages install it.
fn installed(build_id: &[u8], kind: &str) -> Option<PathBuf> {
    let hex: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = PathBuf::from(format!("/usr/lib/debug/.build-id/{}/{}.{kind}", hex.get(..2)?, hex.get(2..)?));
    path.is_file().then_some(path)
}
