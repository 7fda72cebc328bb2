//! Tracepoints of a kernel that is not at hand: whether it has one, and what its record holds, as far as its types say.
//! They name records by class, not by event: where the names differ, the fields stay unknown.

use super::{KernelTypes, Type};
use crate::kernel::tracefs::{Field, FieldKind, Format};
use skep_templates::btf::Kind;

/// What the types know of one tracepoint.
pub enum Record {
    Known(Format),
    /// There is such a tracepoint; its fields are not to be found.
    Exists,
    Missing,
}

impl KernelTypes {
    /// One tracepoint; its category is in no type and is not checked.
    pub fn record(&self, category: &str, name: &str) -> Record {
        let call = name.strip_prefix("sys_enter_").or_else(|| name.strip_prefix("sys_exit_"));
        if let Some(call) = call.filter(|_| category == "syscalls") {
            let known = ["__x64_sys_", "__arm64_sys_", "__se_sys_", "__do_sys_"];
            let has = known.iter().any(|prefix| self.find(Kind::Function, &format!("{prefix}{call}")).is_some());
            // A call without arguments has no function with a type: those that are known by number pass.
            let known = has || crate::kernel::arch::syscall_number(call).is_some();
            return if known { Record::Exists } else { Record::Missing };
        }
        if self.find(Kind::Typedef, &format!("btf_trace_{name}")).is_none() {
            return Record::Missing;
        }
        let classes = [format!("trace_event_raw_{name}"), format!("trace_event_raw_{name}_template")];
        match classes.iter().find_map(|class| self.find(Kind::Struct, class)) {
            Some(class) => Record::Known(Format { id: 0, fields: fields(&class) }),
            None => Record::Exists,
        }
    }

    /// Names of all tracepoints.
    pub fn tracepoint_names(&self) -> Vec<String> {
        let typedefs = self.names(&[Kind::Typedef]).into_iter();
        typedefs.filter_map(|name| name.strip_prefix("btf_trace_")).map(str::to_owned).collect()
    }
}

/// The record's members but those that every record has.
fn fields(class: &Type) -> Vec<Field> {
    let own = class.member_names().into_iter().filter(|name| !matches!(name.as_str(), "ent" | "__data"));
    own.filter_map(|name| field(class, &name)).collect()
}

fn field(class: &Type, name: &str) -> Option<Field> {
    let found = class.member(name)?;
    let (size, offset) = (found.of.size()?, (found.bit_offset / 8) as usize);
    let dynamic = name.strip_prefix("__data_loc_").map(|name| (name, false));
    if let Some((name, relative)) = dynamic.or_else(|| name.strip_prefix("__rel_loc_").map(|name| (name, true))) {
        let declared = format!("__data_loc char[] {name}");
        return Some(Field { name: name.into(), declared, kind: FieldKind::DynamicText { relative }, offset, size });
    }
    let kind = match found.of.kind() {
        Kind::Pointer if found.of.target().is_char() => FieldKind::TextPointer,
        Kind::Pointer => FieldKind::Pointer,
        Kind::Array if found.of.target().is_char() => FieldKind::CharArray,
        Kind::Int | Kind::Enum | Kind::Enum64 => FieldKind::Int { signed: found.of.signed() },
        _ => FieldKind::ByteArray,
    };
    Some(Field { name: name.to_owned(), declared: found.of.declare(name), kind, offset, size })
}
