//! A profile from one format to another: `cargo run --example convert -- stacks.folded cpu.svg`, or, of two,
//! the difference: `convert before.pb.gz after.pb.gz difference.svg`.

use skep_flamegraphs::{Error, diff, format, svg};
use std::fs::File;
use std::path::Path;

fn main() -> Result<(), Error> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match names.as_slice() {
        [from, to] => {
            let format = format::Format::of(Path::new(to))?;
            format::write(&read(from)?, format, &svg::Options::default(), &mut File::create(to)?)
        }
        [before, after, to] => {
            diff::write(&read(before)?, &read(after)?, &diff::Options::default(), &mut File::create(to)?)
        }
        _ => {
            eprintln!("usage: convert FROM TO.(svg|folded|pb.gz|json), convert BEFORE AFTER TO.svg");
            Ok(())
        }
    }
}

fn read(name: &str) -> Result<skep_flamegraphs::profile::Profile, Error> {
    let read = format::read(&std::fs::read(name)?, name)?;
    if read.bad > 0 {
        eprintln!("{name}: {} lines hold no stack, the first: {:?}", read.bad, read.first_bad);
    }
    Ok(read.profile)
}
