//! Files of anybody: a reader ends each with a result, whatever is in it, and holds no more than it says.

use super::Tape;
use super::file::{BEGIN, Blocks, Ending, Frames, crc};
use super::frame::{Frame, Name, Named};
use super::info::Info;
use super::player::{Player, Rest};
use super::wire::Writer;
use crate::library::{Library, Script};
use crate::pump::Happening;
use crate::report::text::Style;
use crate::script::engine::Runner;
use crate::script::host::{Host, Mode, Settings};
use crate::script::output::{Format, Output};
use crate::script::params::Params;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const V1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/recordings/v1.skep");

/// The same numbers on every machine, in every run: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }

    /// Some bytes are other ones, missing, doubled, or of a kind that lengths are made of.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let (at, other) = (self.below(bytes.len()), self.below(256) as u8);
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, other),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 if !bytes.is_empty() => bytes[at] = 0xff,
                4 => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])),
                _ if !bytes.is_empty() => bytes[at] ^= 1 << (other % 8),
                _ => {}
            }
        }
    }
}

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("skep-{}-{name}.skep", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The blocks of a recording as they were before they were compressed.
fn blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &bytes[BEGIN as usize..];
    let mut blocks = Vec::new();
    while let Some((head, behind)) = rest.split_first_chunk::<12>() {
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()) as usize;
        let mut raw = vec![0; word(4)];
        flate2::Decompress::new(false)
            .decompress(&behind[..word(0)], &mut raw, flate2::FlushDecompress::Finish)
            .unwrap();
        blocks.push(raw);
        rest = &behind[word(0)..];
    }
    blocks
}

/// A file of such blocks, with checksums that are right.
fn packed(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = std::fs::read(V1).unwrap()[..BEGIN as usize].to_vec();
    for raw in blocks {
        super::file::write_block(&mut bytes, raw).unwrap();
    }
    bytes
}

/// Replays a file as `skep replay` does, with its own script; gives how it ended.
fn replayed(path: &Path) -> Option<Rest> {
    let player = Rc::new(Player::open(path, None).ok()?);
    let settings = Settings::bare(Mode::Run);
    let mut output = Output::new(Box::new(std::io::sink()), Format::Json, Style::default());
    output.talk = false;
    let script =
        Script { text: std::fs::read_to_string(V1.replace(".skep", ".rhai")).unwrap().into(), name: "v1".into() };
    let host = Host::with_tape(settings, Params::default(), output, None, Tape::Replaying(player.clone()));
    let _diagnostic = Runner::new(host, Library::default()).unwrap().run(&script);
    Some(player.finish())
}

#[test]
fn changed_bytes_end_in_a_warning() {
    let whole = std::fs::read(V1).unwrap();
    let mut random = Random(0x736b_6570);
    for n in 0..300 {
        let mut bytes = whole.clone();
        random.change(&mut bytes);
        let path = file("bytes", &bytes);
        let info = Info::of(&path);
        // Checksums and the end tell, but for what the version may be.
        let unchanged = bytes[BEGIN as usize..] == whole[BEGIN as usize..];
        assert!(unchanged || !info.is_ok_and(|info| info.is_whole()), "{n}");
    }
    std::fs::remove_file(file("bytes", &[])).unwrap();
}

#[test]
fn frames_that_somebody_made_up_do_no_harm() {
    let whole = blocks(&std::fs::read(V1).unwrap());
    let mut random = Random(23);
    for _ in 0..60 {
        let mut blocks = whole.clone();
        let n = random.below(blocks.len());
        random.change(&mut blocks[n]);
        let path = file("frames", &packed(&blocks));
        let _any = (Info::of(&path).map(|info| info.text()), replayed(&path));
    }
    let path = file("frames", &packed(&whole));
    assert_eq!(replayed(&path), Some(Rest::Whole));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn payloads_of_every_kind_are_read_or_refused() {
    let mut random = Random(7);
    for _ in 0..20_000 {
        let bytes: Vec<u8> =
            (0..random.below(64)).map(|_| [0, 1, 2, 0xff, random.below(256) as u8][random.below(5)]).collect();
        let _any = Frame::read(random.below(256) as u8, &bytes);
    }
}

#[test]
fn each_cut_is_noticed_and_what_is_before_it_is_read() {
    let whole = std::fs::read(V1).unwrap();
    for end in (0..whole.len()).step_by(97) {
        let path = file("cut", &whole[..end]);
        match Player::open(&path, None) {
            Ok(player) => {
                assert!(matches!(player.finish(), Rest::Missing(why) if why.contains("is cut short")), "{end}")
            }
            Err(error) => assert!(error.message.contains("no recording") || error.message.contains("damaged"), "{end}"),
        }
    }
    std::fs::remove_file(file("cut", &[])).unwrap();
}

/// What is written can be looked at while the writer has it.
#[derive(Clone, Default)]
struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn written(write: impl FnOnce(&mut Blocks)) -> Vec<u8> {
    let shared = Shared::default();
    let mut blocks = Blocks::create(shared.clone()).unwrap();
    write(&mut blocks);
    blocks.finish().unwrap();
    drop(blocks);
    shared.0.lock().unwrap().clone()
}

#[test]
fn frames_of_later_minor_versions_are_skipped_and_required_ones_end_it() {
    let put = |blocks: &mut Blocks, kind: u8| {
        blocks.put(7, |out| {
            out.text("from the future");
            kind
        });
    };
    let tick = Frame::Happened(Happening::Tick(3));
    let bytes = written(|blocks| {
        put(blocks, 200);
        blocks.put(8, |out| tick.write(out));
        put(blocks, 99);
        blocks.put(9, |out| tick.write(out));
    });
    let mut frames = Frames::new(Box::new(Cursor::new(bytes))).unwrap();
    assert!(matches!(frames.next_frame(), Some((8, Frame::Happened(Happening::Tick(3))))));
    assert!(frames.next_frame().is_none());
    assert_eq!(frames.ending(), Some(&Ending::Unknown(99)));
}

#[test]
fn bomb_of_names_is_given_up() {
    // Each takes a few bytes in the file, and is held as long as the recording is replayed.
    let name = "x".repeat(1 << 20);
    let header = super::header::Header::new(&Script { name: "x".into(), text: "".into() }, &[], false, Vec::new());
    let bytes = written(|blocks| {
        blocks.put(0, |out| {
            out.0.extend_from_slice(header.json().to_string().as_bytes());
            super::header::HEADER
        });
        for number in 0..600 {
            let of = Named { kind: 7, number, process: 0 };
            let frame = Frame::Name(Name { of, name: Some(name.clone()) });
            blocks.put(1, |out| frame.write(out));
        }
    });
    assert!(bytes.len() < 8 << 20, "{}", bytes.len());
    let path = file("bomb", &bytes);
    let player = Player::open(&path, None).unwrap();
    assert!(matches!(player.finish(), Rest::Missing(why) if why.contains("fit in memory")));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn block_that_unpacks_to_more_than_it_says_is_damaged() {
    let mut bytes = written(|blocks| {
        blocks.put(0, |out: &mut Writer| {
            out.0.resize(1 << 20, 0);
            200
        });
    });
    let raw = BEGIN as usize + 4;
    bytes[raw..raw + 4].copy_from_slice(&64u32.to_le_bytes());
    let mut frames = Frames::new(Box::new(Cursor::new(bytes))).unwrap();
    assert!(frames.next_frame().is_none());
    assert_eq!(frames.ending(), Some(&Ending::Damaged));
    assert_eq!(crc(b"123456789"), 0xcbf4_3926);
}
