//! The kernel's types by name: what a pointer leads to, where a member lies, how a function is declared. Read from BTF,
//! of this kernel or of a file; no headers, no compiler, no privilege.

mod kernel;
pub mod listing;
mod member;
mod record;
mod spelling;

pub use kernel::{KernelTypes, Prototype};
pub use member::Found;
pub use record::Record;

use skep_templates::btf::{Btf, Id, Kind};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

/// One type of the kernel or of a module.
#[derive(Clone)]
pub struct Type {
    btf: Arc<Btf<'static>>,
    id: Id,
}

/// How much a walk through types may still look at: of damaged ones a few may hold each other many times over.
struct Room(Cell<usize>);

impl Room {
    /// The largest structures of a kernel have some hundreds of members.
    fn new() -> Room {
        Room(Cell::new(10_000))
    }

    /// Is there room for so many more?
    fn take(&self, count: usize) -> bool {
        let left = self.0.get().checked_sub(count);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }
}

impl Type {
    pub fn new(btf: &Arc<Btf<'static>>, id: Id) -> Type {
        Type { btf: btf.clone(), id }
    }

    fn with(&self, id: Id) -> Type {
        Type { btf: self.btf.clone(), id }
    }

    /// The type itself, behind typedefs and qualifiers.
    pub fn plain(&self) -> Type {
        self.with(self.btf.plain(self.id))
    }

    /// Its number in the BTF that has it.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Behind typedefs and qualifiers.
    pub fn kind(&self) -> Kind {
        self.btf.kind(self.btf.plain(self.id))
    }

    /// Of the type behind typedefs and qualifiers; empty where it has none.
    pub fn name(&self) -> &str {
        self.btf.name(self.btf.plain(self.id))
    }

    /// Bytes that a value takes; `None` where the kernel does not say.
    pub fn size(&self) -> Option<usize> {
        self.btf.size(self.id)
    }

    pub fn signed(&self) -> bool {
        self.btf.signed(self.id)
    }

    pub fn is_bool(&self) -> bool {
        self.btf.boolean(self.id)
    }

    /// One byte of text, `char` or `unsigned char`.
    pub fn is_char(&self) -> bool {
        self.kind() == Kind::Int && self.size() == Some(1) && !self.is_bool() && self.spelled_char()
    }

    /// A `u8` is a number, though C has it as `unsigned char`.
    fn spelled_char(&self) -> bool {
        let mut id = self.id;
        for _ in 0..64 {
            match self.btf.kind(id) {
                Kind::Typedef => return false,
                Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => id = self.btf.target(id),
                _ => break,
            }
        }
        true
    }

    pub fn is_pointer(&self) -> bool {
        self.kind() == Kind::Pointer
    }

    pub fn is_struct(&self) -> bool {
        matches!(self.kind(), Kind::Struct | Kind::Union)
    }

    /// What a pointer leads to, or an array is made of.
    pub fn target(&self) -> Type {
        self.with(self.btf.target(self.btf.plain(self.id)))
    }

    /// Does a pointer lead to user memory? Only kernels built with type tags say so.
    pub fn leads_to_user(&self) -> bool {
        let mut id = self.target().id;
        for _ in 0..64 {
            match self.btf.kind(id) {
                Kind::TypeTag if self.btf.name(id) == "user" => return true,
                Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => id = self.btf.target(id),
                _ => break,
            }
        }
        false
    }

    pub fn array_length(&self) -> Option<usize> {
        self.btf.array_length(self.btf.plain(self.id))
    }

    /// Names and values of an enumeration.
    pub fn enumerators(&self) -> Vec<(&str, i64)> {
        self.btf.enumerators(self.btf.plain(self.id))
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Type) -> bool {
        Arc::ptr_eq(&self.btf, &other.btf) && self.id == other.id
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Type({self})")
    }
}

/// As C spells it: `struct file *`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.declare(""))
    }
}
