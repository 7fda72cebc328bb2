//! tracefs: which tracepoints exist and what their records hold. Source: Documentation/trace/events.rst.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where tracefs is usually mounted; the second place is older.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A mounted tracefs, or a folder that was captured from one.
#[derive(Clone, Debug)]
pub struct Tracefs {
    root: PathBuf,
}

/// How a field's bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Int {
        signed: bool,
    },
    /// `const char *`: the address of a text.
    TextPointer,
    Pointer,
    /// `char name[16]`
    CharArray,
    /// `u8 address[4]` and other arrays
    ByteArray,
    /// `__data_loc char[]`: the record holds its place and length.
    DynamicText {
        relative: bool,
    },
    DynamicBytes {
        relative: bool,
    },
}

/// One field of a tracepoint's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    /// As the format file spells it.
    pub declared: String,
    pub kind: FieldKind,
    pub offset: usize,
    pub size: usize,
}

/// A tracepoint's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub id: u64,
    /// The tracepoint's own, without those that every record has.
    pub fields: Vec<Field>,
}

impl Tracefs {
    /// The mounted tracefs; mounts it where the kernel has it but nobody mounted it, and this process may.
    ///
    /// # Errors
    /// Not mounted and not mountable; no permission to look.
    pub fn open() -> io::Result<Tracefs> {
        for root in PLACES.map(Path::new) {
            match fs::metadata(root.join("events")) {
                Ok(_) => return Ok(Tracefs { root: root.to_owned() }),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
                Err(_) => {}
            }
        }
        mount(Path::new(PLACES[0]))?;
        Ok(Tracefs { root: PLACES[0].into() })
    }

    /// A folder with the shape of tracefs: `events/CATEGORY/NAME/{format,id}`.
    pub fn captured(root: &Path) -> Tracefs {
        Tracefs { root: root.to_owned() }
    }

    /// All tracepoints by category.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn tracepoints(&self) -> io::Result<BTreeMap<String, Vec<String>>> {
        // One file lists them all where the kernel is live: much faster than 2,000 folders.
        if let Ok(list) = fs::read_to_string(self.root.join("available_events")) {
            let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (category, name) in list.lines().filter_map(|line| line.split_once(':')) {
                found.entry(category.to_owned()).or_default().push(name.to_owned());
            }
            found.values_mut().for_each(|names| names.sort());
            return Ok(found);
        }
        let folders = |path: &Path| -> io::Result<Vec<String>> {
            let entries = fs::read_dir(path)?.flatten().filter(|entry| entry.path().is_dir());
            let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.sort();
            Ok(names)
        };
        let events = self.root.join("events");
        folders(&events)?.into_iter().map(|category| Ok((category.clone(), folders(&events.join(category))?))).collect()
    }

    /// The functions that can be traced, one a line: `name` or `name [module]`.
    ///
    /// # Errors
    /// `NotFound`: the kernel was built without a function tracer; no permission to look.
    pub fn functions(&self) -> io::Result<String> {
        fs::read_to_string(self.root.join("available_filter_functions"))
    }

    /// One tracepoint's record; `None` where there is no such tracepoint.
    ///
    /// # Errors
    /// The format file cannot be read or understood.
    pub fn format(&self, category: &str, name: &str) -> io::Result<Option<Format>> {
        if [category, name].iter().any(|part| part.is_empty() || part.contains('/') || part.starts_with('.')) {
            return Ok(None);
        }
        match fs::read_to_string(self.root.join("events").join(category).join(name).join("format")) {
            Ok(text) => parse_format(&text)
                .map(Some)
                .ok_or_else(|| io::Error::other(format!("unexpected format of {category}:{name}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn mount(at: &Path) -> io::Result<()> {
    let target = std::ffi::CString::new(at.as_os_str().as_encoded_bytes())?;
    let kind = c"tracefs";
    // SAFETY: NUL-terminated strings that live through the call; no data.
    let result = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads a format file.
pub(crate) fn parse_format(text: &str) -> Option<Format> {
    let id = text.lines().find_map(|line| line.strip_prefix("ID:"))?.trim().parse().ok()?;
    let fields = text.lines().filter_map(|line| line.trim_start().strip_prefix("field:")).filter_map(parse_field);
    Some(Format { id, fields: fields.filter(|field| !field.name.starts_with("common_")).collect() })
}

/// `const char * filename; offset:24; size:8; signed:0;`
fn parse_field(line: &str) -> Option<Field> {
    let mut parts = line.split(';').map(str::trim);
    let declared = parts.next()?;
    let mut number = |key: &str| parts.next()?.strip_prefix(key)?.parse::<usize>().ok();
    let (offset, size, signed) = (number("offset:")?, number("size:")?, number("signed:")? != 0);
    let (bare, array) = match declared.split_once('[') {
        // `__data_loc char[] name` has its brackets on the type.
        Some((_, rest)) if rest.trim_end().ends_with(']') => (&declared[..declared.find('[')?], true),
        _ => (declared, false),
    };
    let name = bare.trim_end().rsplit([' ', '*']).next()?.to_owned();
    let of_char = declared.contains("char") && !declared.contains("unsigned char");
    let dynamic = ["__data_loc ", "__rel_loc "].iter().position(|prefix| declared.starts_with(prefix));
    let kind = match dynamic {
        Some(which) if of_char => FieldKind::DynamicText { relative: which == 1 },
        Some(which) => FieldKind::DynamicBytes { relative: which == 1 },
        None if array && of_char => FieldKind::CharArray,
        None if array => FieldKind::ByteArray,
        None if declared.contains('*') && of_char && declared.matches('*').count() == 1 => FieldKind::TextPointer,
        None if declared.contains('*') => FieldKind::Pointer,
        None => FieldKind::Int { signed },
    };
    Some(Field { name, declared: declared.to_owned(), kind, offset, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_field_is_read() {
        let text = "name: x\nID: 365\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
            \tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;\n\
            \tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;\n\
            \tfield:char comm[16];\toffset:16;\tsize:16;\tsigned:0;\n\
            \tfield:const char * path;\toffset:32;\tsize:8;\tsigned:0;\n\
            \tfield:__u8 saddr[4];\toffset:40;\tsize:4;\tsigned:0;\n\
            \tfield:const char *const * argv;\toffset:48;\tsize:8;\tsigned:0;\n";
        let format = parse_format(text).unwrap();
        let kinds: Vec<(&str, FieldKind)> =
            format.fields.iter().map(|field| (field.name.as_str(), field.kind)).collect();
        assert_eq!(format.id, 365);
        assert_eq!(
            kinds,
            [
                ("filename", FieldKind::DynamicText { relative: false }),
                ("pid", FieldKind::Int { signed: true }),
                ("comm", FieldKind::CharArray),
                ("path", FieldKind::TextPointer),
                ("saddr", FieldKind::ByteArray),
                ("argv", FieldKind::Pointer),
            ]
        );
    }
}
