//! What a process leads us to: programs and libraries, maps of code written at run time, recordings, profiles.

use crate::binary::elf::Binary;
use crate::binary::placement::{self, ArgumentRegisters};
use crate::binary::{library_cache, usdt, usdt_argument};
use crate::library::{Library, Script};
use crate::network::container;
use crate::recording::Tape;
use crate::recording::file::{Frames, write_block};
use crate::recording::player::Player;
use crate::report::text::Style;
use crate::script::engine::Runner;
use crate::script::host::{Host, Mode, Settings};
use crate::script::output::{Format, Output};
use crate::script::params::Params;
use crate::symbols::careful::careful;
use crate::symbols::image::{Image, Place};
use crate::symbols::{mappings, perf_map as map, records};
use crate::unwind::sample::Sample;
use crate::unwind::tables::Tables;
use crate::unwind::walk::walk;
use std::cell::OnceCell;
use std::fs::File;
use std::io::Cursor;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;

/// A file with these bytes, and a path to it: the same file for every input, nowhere to be found.
fn file(bytes: &[u8]) -> (File, PathBuf) {
    thread_local! {
        static FILE: OnceCell<File> = const { OnceCell::new() };
    }
    let make = || {
        let name = format!("skep-fuzz-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.unwrap_or_else(|error| panic!("failed to make {}: {error}", path.display()));
        std::fs::remove_file(&path).expect("it was made just now");
        file
    };
    let file = FILE.with(|file| file.get_or_init(make).try_clone()).expect("a descriptor is left");
    file.set_len(0).and_then(|()| file.write_all_at(bytes, 0)).expect("there is room");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    (file, path)
}

/// Functions, their code, and the frames of a few addresses.
pub fn elf_symbols(bytes: &[u8]) {
    let (file, path) = file(bytes);
    let mut places = vec![0, 0x1000];
    if let Ok(binary) = Binary::open(&path) {
        let functions = binary.matching("*").unwrap_or_default();
        let some = functions.get(..functions.len().min(16)).unwrap_or_default();
        let _placed = placement::place_all(&binary, some, true, ArgumentRegisters::NONE);
        for function in some {
            let (_code, _offset) = (binary.code(function), binary.offset_of(&function.name, 1));
            places.push(function.file_offset + function.size / 2);
        }
        let (_missing, _address) = (binary.function("main"), binary.offset_of_address(u64::MAX));
    }
    for inlines in [false, true] {
        let place = Place { file: file.try_clone().expect("a descriptor is left"), path: "/a", beside: false };
        if let Ok(mut image) = Image::open(place, inlines) {
            places.iter().for_each(|place| drop((image.at(*place), image.unwind(*place))));
        }
    }
}

/// Sites of a file, and a note's arguments as text.
pub fn usdt_notes(bytes: &[u8]) {
    use crate::binary::elf::Machine;
    if bytes.starts_with(b"\x7fELF") {
        let (_file, path) = file(bytes);
        let _sites = usdt::sites(&path);
        return;
    }
    for width in [4, 8] {
        let _site = usdt::described(bytes, object::Endianness::Little, width, Some(7), &[]);
    }
    let text = String::from_utf8_lossy(bytes);
    for machine in [Machine::X86_64, Machine::Aarch64, Machine::Other(3)] {
        usdt_argument::parse(&text, machine).iter().for_each(|argument| drop(argument.declared()));
    }
}

/// /tmp/perf-PID.map, which any process may write.
pub fn perf_map(bytes: &[u8]) {
    let functions = map::parse(bytes);
    for address in [0, 0x1000, u64::MAX] {
        let _found = functions.get(address);
    }
}

/// What /proc says of a process, the records of perf about it, its container, the loader's cache of its root.
pub fn process(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in mappings::lines(&text) {
        let _memory = mappings::without_file(&line.path);
    }
    text.lines().for_each(|line| drop(container::of_path(line)));
    let _named =
        serde_json::from_str(&text).map(|config| (container::annotations(&config), container::of_docker(&config)));
    records::records(bytes).for_each(drop);
    library_cache::parse(bytes);
}

/// Unwind tables and a stack: the first two bytes say how long each of `.eh_frame` and its index is.
pub fn unwind(bytes: &[u8]) {
    let Some((lengths, rest)) = bytes.split_first_chunk::<2>() else { return };
    let part = |length: u8, rest: &[u8]| rest.len().min(usize::from(length) * 8);
    let (frames, rest) = rest.split_at(part(lengths[0], rest));
    let (index, stack) = rest.split_at(part(lengths[1], rest));
    let mut tables = Tables::of(frames.to_vec(), index.to_vec(), 0x2000, 0x3000);
    (0x1000..0x1040).for_each(|address| drop(tables.row(address)));
    if let Some(sample) = Sample::decode(23, stack, 4096) {
        // As those do who ask: what its reader does not check is no finding of ours.
        careful(|| walk(&sample, |address| Ok(tables.row(address))));
    }
}

/// A recording: the file as it is, and a file whose one block holds these bytes, replayed by the script that its seed is of.
pub fn recording(bytes: &[u8]) {
    if let Ok(mut frames) = Frames::new(Box::new(Cursor::new(bytes.to_vec()))) {
        while frames.next_frame().is_some() {}
    }
    let mut whole = b"skep-rec\x01\0\0\0".to_vec();
    if write_block(&mut whole, bytes).is_err() {
        return;
    }
    let (_file, path) = file(&whole);
    let Ok(player) = Player::open(&path, None) else { return };
    let player = Rc::new(player);
    let output = Output::new(Box::new(std::io::sink()), Format::Text, Style::default());
    let tape = Tape::Replaying(player);
    let host = Host::with_tape(Settings::bare(Mode::Run), Params::default(), output, None, tape);
    let text = include_str!("../../../tests/fixtures/recordings/v1.rhai");
    if let Ok(mut runner) = Runner::new(host, Library::default()) {
        let _replayed = runner.run(&Script { name: "v1.rhai".into(), text: text.into() });
    }
}

/// A profile of another tool, and what is drawn of it.
pub fn profile(bytes: &[u8]) {
    use skep_flamegraphs::{fold, format, pprof, speedscope, summary, svg};
    let Ok(read) = format::read(bytes, "fuzz") else { return };
    let mut sink = std::io::sink();
    let _written = (pprof::write(&read.profile, &mut sink), speedscope::write(&read.profile, &mut sink));
    for value in 0..read.profile.types.len() {
        let _written = fold::write(&read.profile, value, &mut sink);
        summary::of(&read.profile, value, 7);
    }
    let _drawn = svg::write(&read.profile, &svg::Options::default(), &mut sink);
}
