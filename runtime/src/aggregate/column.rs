//! Columns: the typed parts of a key or an event, and the values decoded from them. Pure; no privilege.

use super::path;
use skep_flamegraphs::profile::{Frame, Origin};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// One column. Its unit, such as `ns`, is shown in headings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ColumnType {
    pub name: String,
    pub kind: ColumnKind,
    pub unit: Option<String>,
}

impl ColumnType {
    /// A column without a unit.
    pub fn new(name: &str, kind: ColumnKind) -> Self {
        ColumnType { name: name.into(), kind, unit: None }
    }

    /// Of a column of call chains: whose.
    pub fn stack(&self) -> Option<StackShow> {
        match self.kind {
            ColumnKind::Int { show: Show::Stack(show), .. } | ColumnKind::Called(show) => Some(show),
            _ => None,
        }
    }

    /// Does it hold call chains?
    pub fn is_stack(&self) -> bool {
        self.stack().is_some()
    }

    /// Those of a process?
    pub fn is_user_stack(&self) -> bool {
        self.stack().is_some_and(|show| show.user)
    }
}

/// How a column lies in memory and how its values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// An integer of 1, 2, 4 or 8 bytes.
    Int {
        size: u8,
        signed: bool,
        show: Show,
    },
    /// Text up to the first NUL, or to the end.
    Text {
        size: u16,
    },
    Bytes {
        size: u16,
        show: BytesShow,
    },
    /// The path of a file: see [`super::path`].
    Path {
        size: u16,
    },
    /// A call chain at the beginning of a function: its number, and the address that the function will return to, each 8
    /// bytes. The chain itself lacks the caller: the function has no frame as yet.
    Called(StackShow),
}

/// What an integer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Show {
    Decimal,
    /// An address, a set of flags: unsigned.
    Hex,
    /// The number of an attach point.
    Probe,
    /// A system call's number.
    Syscall,
    Signal,
    /// An error number, of either sign; 0 is none.
    Errno,
    /// A cgroup's id.
    Cgroup,
    /// A user's id.
    User,
    /// A block device's number, as the kernel packs it: major << 20 | minor.
    Device,
    /// Nanoseconds.
    Duration,
    /// An address in the kernel's code or data.
    KernelSymbol,
    /// A call chain: its number in the kernel's table, and the process of a user's chain above it.
    Stack(StackShow),
    /// A value of an enumeration.
    Enum(&'static Enumeration),
}

/// Whose call chain, and how many frames of it from the innermost on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackShow {
    pub user: bool,
    pub depth: u8,
}

/// The names of an enumeration's values.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Enumeration {
    pub name: String,
    pub values: Vec<(String, i64)>,
}

impl Enumeration {
    /// One copy of it for the whole process: columns of a script name a few of them, and are copied around.
    pub fn shared(name: &str, values: Vec<(String, i64)>) -> &'static Enumeration {
        static ALL: Mutex<Vec<&'static Enumeration>> = Mutex::new(Vec::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Enumeration { name: name.to_owned(), values };
        if let Some(known) = all.iter().find(|known| ***known == wanted) {
            return known;
        }
        let wanted: &'static Enumeration = Box::leak(Box::new(wanted));
        all.push(wanted);
        wanted
    }

    /// Is it an `enum` of the kernel's source, rather than one of our own?
    pub fn of_kernel(&self) -> bool {
        !self.name.contains(' ')
    }

    /// The name of a value.
    pub fn name_of(&self, value: i64) -> Option<&str> {
        self.values.iter().find(|(_, known)| *known == value).map(|(name, _)| name.as_str())
    }

    /// The value with a name.
    pub fn value_of(&self, name: &str) -> Option<i64> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BytesShow {
    Hex,
    /// 4 or 16 bytes in network order; an IPv4 address mapped into IPv6 is shown as IPv4.
    Ip,
    /// An address of Ethernet: 02:00:00:00:00:01.
    Mac,
    Text,
    /// An address and the number of its process, 8 bytes each: a symbol of that process.
    UserSymbol,
}

/// Gives numbers their names: the run's attach points, this machine's users, cgroups and devices.
pub trait Names {
    /// The name of `value`; `None` where it has none, or none is known: then the number is shown.
    fn name(&self, show: &Show, value: u64) -> Option<String>;

    /// The symbol of an address in a process; `None` where nothing can be looked up: then the address is shown.
    fn user_symbol(&self, _pid: u32, _address: u64) -> Option<String> {
        None
    }
}

/// No names at all: numbers stay numbers.
pub struct NoNames;

impl Names for NoNames {
    fn name(&self, _: &Show, _: u64) -> Option<String> {
        None
    }
}

impl ColumnKind {
    /// Of `usym()`.
    pub const USER_SYMBOL: ColumnKind = ColumnKind::Bytes { size: 16, show: BytesShow::UserSymbol };

    pub const fn int(size: u8, signed: bool, show: Show) -> Self {
        ColumnKind::Int { size, signed, show }
    }

    /// Bytes that the column takes.
    pub fn size(self) -> usize {
        match self {
            ColumnKind::Int { size, .. } => size.into(),
            ColumnKind::Text { size } | ColumnKind::Bytes { size, .. } | ColumnKind::Path { size } => size.into(),
            ColumnKind::Called(_) => 16,
        }
    }
}

/// Where each column lies if the first starts at `start`: all at multiples of 8.
pub fn offsets(columns: &[ColumnType], start: usize) -> impl Iterator<Item = usize> {
    columns.iter().scan(start, |end, column| {
        let offset = end.next_multiple_of(8);
        *end = offset + column.kind.size();
        Some(offset)
    })
}

/// Decodes a column from the bytes that start with it; of bytes that are too few, or of an integer of odd size, gives
/// the bytes themselves. Text that is not UTF-8 gets replacement characters.
pub fn decode(column: &ColumnType, bytes: &[u8]) -> Value {
    let bytes = bytes.get(..column.kind.size()).unwrap_or(bytes);
    match column.kind {
        ColumnKind::Int { size, signed, show } => match integer(bytes, signed) {
            Some(value) if bytes.len() == usize::from(size) => match i64::try_from(value) {
                Ok(int) if !matches!(show, Show::Hex | Show::KernelSymbol | Show::Stack(_)) => Value::Int(int),
                _ => Value::Unsigned(value as u64),
            },
            _ => Value::Bytes(bytes.to_vec()),
        },
        ColumnKind::Text { .. } => Value::Text(text(bytes)),
        ColumnKind::Bytes { .. } => Value::Bytes(bytes.to_vec()),
        ColumnKind::Path { .. } => Value::Text(path::decode(bytes)),
        ColumnKind::Called(_) => Value::Bytes(bytes.to_vec()),
    }
}

fn integer(bytes: &[u8], signed: bool) -> Option<i128> {
    let value = match *bytes {
        [byte] => u64::from(byte),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        _ => u64::from_ne_bytes(bytes.try_into().ok()?),
    };
    let unused = 64 - 8 * bytes.len();
    Some(if signed { (value.cast_signed() << unused >> unused).into() } else { value.into() })
}

/// Text up to the first NUL, with replacement characters for what is not UTF-8.
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    text_into(bytes, &mut text);
    text
}

/// The same in place of another text.
pub fn text_into(bytes: &[u8], text: &mut String) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    text.clear();
    text.push_str(&String::from_utf8_lossy(&bytes[..end]));
}

/// One value of a column. Integers are equal and ordered by what they count, whichever variant holds them.
#[derive(Clone, Debug)]
pub enum Value {
    Int(i64),
    /// Above `i64::MAX`, or of a column that is shown in hex.
    Unsigned(u64),
    Text(String),
    Bytes(Vec<u8>),
    Float(f64),
    /// A call chain, the innermost function first. Chains are equal whose functions are: not where in them a call stands.
    Stack(Arc<[Arc<Frame>]>),
}

impl Value {
    /// The number, if it is an integer.
    pub fn integer(&self) -> Option<i128> {
        match *self {
            Value::Int(value) => Some(value.into()),
            Value::Unsigned(value) => Some(value.into()),
            _ => None,
        }
    }

    /// A number that is lower only where the value is: it orders most values without a look at them.
    pub(super) fn beginning(&self) -> u128 {
        // As many as fit behind the class.
        let first = |bytes: &[u8]| {
            let (mut word, length) = ([0; 16], bytes.len().min(15));
            word[1..=length].copy_from_slice(&bytes[..length]);
            u128::from_be_bytes(word)
        };
        let within = match self {
            Value::Int(value) => (i128::from(*value) - i128::from(i64::MIN)).cast_unsigned(),
            Value::Unsigned(value) => u128::from(*value) + u128::from(i64::MIN.unsigned_abs()),
            Value::Text(text) => first(text.as_bytes()),
            Value::Bytes(bytes) => first(bytes),
            Value::Float(_) | Value::Stack(_) => 0,
        };
        u128::from(self.class()) << 120 | within
    }

    fn class(&self) -> u8 {
        match self {
            Value::Int(_) | Value::Unsigned(_) => 0,
            Value::Float(_) => 1,
            Value::Text(_) => 2,
            Value::Bytes(_) => 3,
            Value::Stack(_) => 4,
        }
    }
}

/// What makes a frame the same as another one to people.
fn function(frame: &Arc<Frame>) -> (&str, Origin, bool) {
    (&frame.name, frame.origin, frame.inlined)
}

impl Ord for Value {
    /// Integers, floats, texts, bytes, each among themselves; in a column all values are of one class.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Stack(a), Value::Stack(b)) => a.iter().map(function).cmp(b.iter().map(function)),
            _ => (self.class(), self.integer()).cmp(&(other.class(), other.integer())),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Value::Int(_) | Value::Unsigned(_) => self.integer().hash(state),
            Value::Float(value) => value.to_bits().hash(state),
            Value::Text(text) => text.hash(state),
            Value::Bytes(bytes) => bytes.hash(state),
            Value::Stack(frames) => frames.iter().for_each(|frame| function(frame).hash(state)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: ColumnKind) -> ColumnType {
        ColumnType::new("x", kind)
    }

    fn int(size: u8, signed: bool, show: Show) -> ColumnType {
        column(ColumnKind::int(size, signed, show))
    }

    #[test]
    fn integers_are_extended_by_their_sign() {
        assert_eq!(decode(&int(4, true, Show::Decimal), &(-7i32).to_ne_bytes()), Value::Int(-7));
        assert_eq!(decode(&int(2, false, Show::Decimal), &(-7i16).to_ne_bytes()), Value::Int(65529));
        assert_eq!(decode(&int(1, true, Show::Decimal), &[0xff, 9]), Value::Int(-1));
    }

    #[test]
    fn unsigned_64_bit_value_is_not_wrapped() {
        let value = decode(&int(8, false, Show::Decimal), &u64::MAX.to_ne_bytes());
        assert!(matches!(value, Value::Unsigned(u64::MAX)) && value > Value::Int(i64::MAX));
        assert!(matches!(decode(&int(8, false, Show::Hex), &7u64.to_ne_bytes()), Value::Unsigned(7)));
    }

    #[test]
    fn too_few_bytes_are_kept_as_they_are() {
        assert_eq!(decode(&int(8, false, Show::Decimal), &[1, 2, 3, 4]), Value::Bytes(vec![1, 2, 3, 4]));
        assert_eq!(decode(&int(3, false, Show::Decimal), &[1, 2, 3]), Value::Bytes(vec![1, 2, 3]));
        assert_eq!(decode(&column(ColumnKind::Text { size: 16 }), b"ba"), Value::Text("ba".into()));
    }

    #[test]
    fn text_ends_at_its_nul_and_keeps_what_is_no_utf8_visible() {
        assert_eq!(decode(&column(ColumnKind::Text { size: 6 }), b"a\xffb\0junk"), Value::Text("a\u{fffd}b".into()));
    }

    #[test]
    fn columns_lie_as_the_fields_of_a_c_struct() {
        let columns = [column(ColumnKind::Text { size: 5 }), int(4, false, Show::Decimal), int(8, false, Show::Hex)];
        assert_eq!(Vec::from_iter(offsets(&columns, 8)), [8, 16, 24]);
    }

    #[test]
    fn equal_integers_hash_alike_whichever_variant_holds_them() {
        let set = std::collections::HashSet::from([Value::Int(5), Value::Unsigned(5), Value::Float(5.0)]);
        assert_eq!(set.len(), 2);
    }
}
