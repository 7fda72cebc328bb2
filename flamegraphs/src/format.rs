//! Formats by the name of a file.

use crate::error::Error;
use crate::profile::Profile;
use crate::{fold, pprof, speedscope, svg};
use std::io::Write;
use std::path::Path;

/// What a profile is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.svg`
    Svg,
    /// `.folded`, `.txt`
    Folded,
    /// `.pb.gz`, `.pprof`
    Pprof,
    /// `.json`
    Speedscope,
}

const SUFFIXES: [(&str, Format); 6] = [
    (".svg", Format::Svg),
    (".folded", Format::Folded),
    (".txt", Format::Folded),
    (".pb.gz", Format::Pprof),
    (".pprof", Format::Pprof),
    (".json", Format::Speedscope),
];

impl Format {
    /// The format that a file's name asks for.
    ///
    /// # Errors
    /// A suffix that is none of ours; the message names them.
    pub fn of(path: &Path) -> Result<Format, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let known = SUFFIXES.iter().find(|(suffix, _)| name.len() > suffix.len() && name.ends_with(suffix));
        known.map(|(_, format)| *format).ok_or_else(|| {
            let suffixes = SUFFIXES.map(|(suffix, _)| suffix).join(", ");
            Error::new(format!("`{}` names no format: end it in one of {suffixes}", path.display()))
        })
    }
}

/// Writes a profile. Of `options`, SVG takes all and folded text the type of values; pprof and speedscope hold all types.
///
/// # Errors
/// No such type of values; those of `out`.
pub fn write(profile: &Profile, format: Format, options: &svg::Options, out: &mut dyn Write) -> Result<(), Error> {
    match format {
        Format::Svg => svg::write(profile, options, out),
        Format::Folded => {
            svg::value_type(profile, options.value)?;
            Ok(fold::write(profile, options.value, out)?)
        }
        Format::Pprof => pprof::write(profile, out),
        Format::Speedscope => speedscope::write(profile, out),
    }
}

/// Reads a profile, pprof or folded text, by what the file holds. `name` becomes the title of one that has none. Lines of
/// folded text that hold no stack are counted.
///
/// # Errors
/// A damaged pprof profile; neither text nor pprof; text of lines that hold no stack.
pub fn read(bytes: &[u8], name: &str) -> Result<fold::Read, Error> {
    let in_file = |error: Error| Error::new(format!("`{name}`: {error}"));
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let Some(text) = text.filter(|_| !pprof::is_gzip(bytes)) else {
        let mut profile = pprof::read(bytes).map_err(in_file)?;
        if profile.title.is_empty() {
            profile.title = name.to_owned();
        }
        return Ok(fold::Read { profile, bad: 0, first_bad: Vec::new() });
    };
    let read = fold::read(text, name);
    if read.profile.stacks.is_empty() && read.bad > 0 {
        return Err(Error::new(format!("`{name}` holds neither folded stacks (`main;read 12`) nor a pprof profile")));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_asks_for_a_format() {
        for (name, format) in [
            ("cpu.svg", Format::Svg),
            ("/tmp/a.b/CPU.SVG", Format::Svg),
            ("x.folded", Format::Folded),
            ("x.pb.gz", Format::Pprof),
            ("x.json", Format::Speedscope),
        ] {
            assert_eq!(Format::of(Path::new(name)).expect(name), format);
        }
        let error = Format::of(Path::new("cpu.gz")).expect_err("no format").to_string();
        assert_eq!(error, "`cpu.gz` names no format: end it in one of .svg, .folded, .txt, .pb.gz, .pprof, .json");
        assert!(Format::of(Path::new(".svg")).is_err(), "a suffix alone");
    }

    #[test]
    fn content_tells_what_is_read() {
        let folded = b"a;b 2\nnothing\n";
        let first = read(folded, "x").expect("folded");
        assert_eq!((first.profile.total(0), first.bad), (2, 1));
        let mut packed = Vec::new();
        pprof::write(&first.profile, &mut packed).expect("a vector takes everything");
        let again = read(&packed, "y").expect("pprof");
        assert_eq!((again.profile.total(0), again.profile.title.as_str()), (2, "x"));
        for (bytes, start) in [
            (&b"\x7fELF\0\x01"[..], "`z`: not a pprof profile"),
            (b"\x1f\x8b\x08nonsense", "`z`: not a gzip'd file"),
            (b"<svg>", "`z` holds neither"),
        ] {
            let error = read(bytes, "z").expect_err("no profile").to_string();
            assert!(error.starts_with(start), "{error}");
        }
        assert_eq!(read(b"", "empty").expect("nothing is no error").profile.stacks.len(), 0);
    }
}
