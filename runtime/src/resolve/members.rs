//! Members, elements and casts: the kernel's structures by name. Pointers are followed with bounded reads; a fault reads
//! as zero.

use super::operators::binary;
use super::resolve;
use super::scope::{Arguments, Scope, Typed};
use crate::aggregate::column::{BytesShow, Enumeration, Show};
use crate::diagnostic::{Diagnostic, nearest};
use crate::expr::{Expr, Function, Node};
use crate::slot::ir::{Arithmetic, Current, Int, Memory, Place, Size, Text};
use crate::types::{Found, Type};
use skep_templates::btf::Kind;

/// An array of bytes up to this long is a value; a longer one has to be cut: `buf(…, n)`.
const LONGEST_BYTES: usize = 256;

/// Is what cannot be known of `inner` let through? Plans only: its arguments, or what types would say of it.
fn unchecked(inner: &Expr, scope: &Scope) -> bool {
    let typed = |node: &Node| match node {
        Node::Cast(..) => true,
        Node::Name(name) => name == "curtask",
        _ => false,
    };
    scope.arguments == Arguments::Unchecked || (scope.types.is_none() && inner.any(&typed))
}

/// `inner.name`
pub fn member(inner: &Expr, name: &str, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    if unchecked(inner, scope) {
        return Ok(Typed::int(Int::Current(Current::Nsecs)));
    }
    let (place, of) = structure(inner, name, expr, scope)?;
    match of.member(name) {
        Some(found) => value(member_place(place, &found), &found, expr),
        None => Err(no_member(&of, name, expr)),
    }
}

/// Where the structure lies that `inner` is, or leads to.
fn structure(inner: &Expr, name: &str, expr: &Expr, scope: &Scope) -> Result<(Place, Type), Diagnostic> {
    let error = |message: String| Diagnostic::script(message).span(name).at(expr.position);
    let (place, of) = match resolve(inner, scope)? {
        Typed::Pointer { int, to, stars: 1, memory } => (behind(int, memory), to),
        Typed::Object { place, of } => (place, of),
        Typed::Pointer { to, .. } => {
            return Err(
                error(format!("`{inner}` leads to another pointer, to `{to}`")).help(format!("{inner}[0].{name}"))
            );
        }
        Typed::Int { .. } => {
            return Err(error(format!("`{inner}` is a number: what it leads to is not known"))
                .help(format!("cast({inner}, \"struct NAME\").{name}")));
        }
        other => return Err(error(format!("`{inner}` is {} and has no member `{name}`", other.what()))),
    };
    match of.kind() {
        Kind::Struct | Kind::Union => Ok((place, of)),
        // A pointer to a pointer, spelled so by its declaration.
        Kind::Pointer => {
            Err(error(format!("`{inner}` leads to another pointer, `{of}`")).help(format!("{inner}[0].{name}")))
        }
        Kind::Forward => Err(error(format!("this kernel's types do not say what `{of}` holds"))),
        Kind::Void => Err(error(format!("`{inner}` is a `void *`: what it leads to is not known"))
            .help(format!("cast({inner}, \"struct NAME\").{name}"))),
        _ => Err(error(format!("`{inner}` is `{of}` and has no member `{name}`"))),
    }
}

fn no_member(of: &Type, name: &str, expr: &Expr) -> Diagnostic {
    let of = &of.plain();
    let error =
        Diagnostic::script(format!("`{of}` has no member `{name}` on this kernel")).span(name).at(expr.position);
    match of.near(name) {
        Some(near) => error.help(format!("did you mean `{near}`?   (skep list {})", listed(of))),
        None => error.help(format!("skep list {}", listed(of))),
    }
}

/// As `skep list` takes it.
fn listed(of: &Type) -> String {
    format!("'{}'", of.to_string().replacen(' ', ":", 1))
}

/// `inner[n]`
pub fn element(inner: &Expr, n: i64, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    if unchecked(inner, scope) {
        return Ok(Typed::int(Int::Current(Current::Nsecs)));
    }
    let error = |message: String| Diagnostic::script(message).at(expr.position);
    let (place, of) = match resolve(inner, scope)? {
        Typed::Object { place, of } if of.kind() == Kind::Array => {
            // A flexible array at a structure's end has length 0, and says nothing.
            let length = of.array_length().unwrap_or(0);
            if n < 0 || (length > 0 && n as u64 >= length as u64) {
                return Err(error(format!("`{inner}` has {length} elements and no number {n}"))
                    .help(format!("{inner}[0] to {inner}[{}]", length.saturating_sub(1))));
            }
            (place, of.target())
        }
        Typed::Pointer { int, to, stars: 1, memory } => (behind(int, memory), to),
        Typed::Pointer { int, to, stars, memory } => {
            let place = moved(behind(int, memory), n.saturating_mul(8));
            let int = Int::Load { place, size: Size::B8, signed: false };
            return Ok(Typed::Pointer { int, to, stars: stars - 1, memory });
        }
        other => return Err(error(format!("`{inner}` is {} and has no elements", other.what()))),
    };
    let size = of.size().ok_or_else(|| error(format!("`{inner}` leads to `{of}`, whose size is not known")))?;
    let offset = n.checked_mul(size as i64).filter(|offset| i32::try_from(*offset).is_ok());
    let offset = offset.ok_or_else(|| error(format!("`{expr}` is too far away")))?;
    value(moved(place, offset), &Found { of, bit_offset: 0, bit_width: 0 }, expr)
}

/// `cast(inner, "struct sock")`: a pointer to it. `cast(inner, "enum pid_type")`, `cast(inner, "u32")`: the value, cut.
pub fn cast(inner: &Expr, to: &str, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let error = |message: String| Diagnostic::script(message).span(to).at(expr.position);
    let number = match resolve(inner, scope)? {
        Typed::Int { int, .. } => int,
        Typed::Pointer { int, .. } => int,
        Typed::Object { place, .. } => address(place).ok_or_else(|| error(format!("`{inner}` has no address")))?,
        other => return Err(error(format!("`{inner}` is {} and cannot be cast", other.what()))),
    };
    let base = to.trim_end_matches(['*', ' ']);
    let stars = to.matches('*').count();
    let Some(types) = scope.types.as_ref().filter(|types| types.vmlinux().is_some()) else {
        if scope.types.is_none() || scope.arguments == Arguments::Unchecked {
            return Ok(Typed::int(number));
        }
        return Err(Diagnostic::machine("this kernel has no type information (/sys/kernel/btf/vmlinux)")
            .help("it takes a kernel with CONFIG_DEBUG_INFO_BTF=y")
            .at(expr.position));
    };
    let Some(of) = types.spelled(base) else {
        let error = error(format!("this kernel has no type `{base}`"));
        let (word, name) = base.rsplit_once(' ').unwrap_or(("", base));
        let kinds = [Kind::Struct, Kind::Union, Kind::Enum, Kind::Enum64, Kind::Typedef];
        return Err(match nearest(name, types.names(&kinds)) {
            Some(near) if word.is_empty() => error.help(format!("did you mean `{near}`?")),
            Some(near) => error.help(format!("did you mean `{word} {near}`?")),
            None => error.help(format!("skep list 'struct:*{name}*'")),
        });
    };
    let memory = memory_of(inner, scope);
    if stars > 0 || of.is_struct() {
        // `struct sock` stands for a pointer to it, as nothing else can be meant.
        return Ok(Typed::Pointer { int: number, to: of, stars: stars.max(1) as u8, memory });
    }
    match of.kind() {
        Kind::Int | Kind::Enum | Kind::Enum64 => Ok(scalar(narrowed(number, &of), &of)),
        Kind::Pointer => Ok(Typed::Pointer { int: number, to: of.target(), stars: 1, memory }),
        _ => Err(error(format!("`{inner}` cannot be cast to `{of}`"))),
    }
}

/// Which memory a number leads to: nothing of it says so but `uptr()`, `kptr()` and where it was met.
pub fn memory_of(expr: &Expr, scope: &Scope) -> Memory {
    match &*expr.node {
        Node::Call(Function::UserPointer, _) => Memory::User,
        Node::Call(Function::KernelPointer, _) => Memory::Kernel,
        _ => scope.memory,
    }
}

/// A register or a word of the context as a value of this type.
pub fn passed(word: Int, of: &Type) -> Option<Typed> {
    Some(match of.kind() {
        Kind::Pointer => pointer(word, of),
        Kind::Int | Kind::Enum | Kind::Enum64 if of.size()? <= 8 => scalar(narrowed(word, of), of),
        _ => return None,
    })
}

fn pointer(int: Int, of: &Type) -> Typed {
    let memory = if of.leads_to_user() { Memory::User } else { Memory::Kernel };
    Typed::Pointer { int, to: of.target(), stars: 1, memory }
}

fn scalar(int: Int, of: &Type) -> Typed {
    let unsigned = of.size() == Some(8) && !of.signed();
    Typed::Int { int, unsigned, show: shown(of) }
}

fn shown(of: &Type) -> Show {
    match of.kind() {
        Kind::Enum | Kind::Enum64 => {
            let values = of.enumerators().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Show::Enum(Enumeration::shared(of.name(), values))
        }
        _ => Show::Decimal,
    }
}

/// Its low bytes alone, extended by their sign: what is above them in a register is anybody's.
fn narrowed(int: Int, of: &Type) -> Int {
    let bits = 8 * of.size().unwrap_or(8) as u64;
    match bits {
        64.. => int,
        _ => cut(int, 64 - bits, 64 - bits, of.signed()),
    }
}

/// Shifted left, then right again.
fn cut(int: Int, left: u64, right: u64, signed: bool) -> Int {
    let up = if left == 0 { int } else { binary(Arithmetic::ShiftLeft, false, int, Int::Constant(left)) };
    if right == 0 { up } else { binary(Arithmetic::ShiftRight, signed, up, Int::Constant(right)) }
}

pub fn behind(int: Int, memory: Memory) -> Place {
    Place::Behind { pointer: Box::new(int), offset: 0, memory }
}

pub fn moved(place: Place, bytes: i64) -> Place {
    match place {
        Place::Context(offset) => Place::Context(offset.saturating_add(bytes as i16)),
        Place::Event(offset) => Place::Event(offset.saturating_add(bytes as i16)),
        Place::Behind { pointer, offset, memory } => {
            Place::Behind { pointer, offset: offset.saturating_add(bytes as i32), memory }
        }
    }
}

/// The first byte of a member; of a bit-field, of the integer that holds it.
pub fn member_place(place: Place, found: &Found) -> Place {
    let byte = match found.bit_width {
        0 => found.bit_offset / 8,
        _ => found.bit_offset / (8 * unit(found)) * unit(found),
    };
    moved(place, byte as i64)
}

/// Bytes of the integer that holds a bit-field.
fn unit(found: &Found) -> u64 {
    let size = found.of.size().unwrap_or(8) as u64;
    let within = found.bit_offset % (8 * size) + u64::from(found.bit_width);
    if within > 8 * size { 8 } else { size }
}

/// What lies at a place.
fn value(place: Place, found: &Found, expr: &Expr) -> Result<Typed, Diagnostic> {
    let Found { of, bit_offset, bit_width } = found;
    let error = |what: String| Err(Diagnostic::script(what).at(expr.position));
    if *bit_width > 0 {
        let bytes = unit(found);
        let Some(size) = Size::of(bytes as usize) else { return error(format!("`{expr}` is an odd bit-field")) };
        let low = bit_offset % (8 * bytes);
        let int = Int::Load { place, size, signed: false };
        let width = u64::from(*bit_width);
        return Ok(Typed::shown(cut(int, 64 - low - width, 64 - width, of.signed()), shown(of)));
    }
    match (of.kind(), of.size()) {
        (Kind::Pointer, _) => Ok(pointer(Int::Load { place, size: Size::B8, signed: false }, of)),
        (Kind::Int | Kind::Enum | Kind::Enum64, Some(bytes)) => match Size::of(bytes) {
            Some(size) => Ok(scalar(Int::Load { place, size, signed: of.signed() }, of)),
            None => Ok(Typed::Object { place, of: of.clone() }),
        },
        (Kind::Struct | Kind::Union | Kind::Array, _) => Ok(Typed::Object { place, of: of.clone() }),
        (Kind::Float, _) => error(format!("`{expr}` is a floating-point number, which the kernel cannot handle")),
        _ => error(format!("`{expr}` is `{of}` and no value")),
    }
}

/// The address of a place in memory; the context and the event have none that matters.
pub fn address(place: Place) -> Option<Int> {
    match place {
        Place::Behind { pointer, offset: 0, .. } => Some(*pointer),
        Place::Behind { pointer, offset, .. } => {
            Some(binary(Arithmetic::Add, false, *pointer, Int::Constant(i64::from(offset) as u64)))
        }
        _ => None,
    }
}

/// The bytes at a place.
pub fn bytes_at(place: Place, size: u16) -> Text {
    match place {
        Place::Context(offset) => Text::Context { offset, size },
        Place::Event(offset) => Text::Event { offset, size },
        Place::Behind { memory, .. } => {
            let pointer = address(place).unwrap_or(Int::Constant(0));
            Text::At { pointer, memory }
        }
    }
}

/// What a pointer or an object is as a value of a column: an address, a text, some bytes.
///
/// # Errors
/// A structure has to be narrowed down to a member.
pub fn settled(typed: Typed, expr: &Expr) -> Result<Typed, Diagnostic> {
    match typed {
        Typed::Pointer { int, .. } => Ok(Typed::address(int)),
        Typed::Object { place, of } if of.kind() == Kind::Array && of.target().is_char() => {
            let size = of.size().unwrap_or(0).clamp(1, 512) as u16;
            let text = bytes_at(place, size);
            Ok(Typed::Text { text, size: size.next_multiple_of(8) })
        }
        Typed::Object { place, of } if !of.is_struct() && of.size().is_some_and(|size| size <= LONGEST_BYTES) => {
            let size = of.size().unwrap_or(0) as u16;
            Ok(Typed::Bytes { bytes: bytes_at(place, size), size, show: BytesShow::Hex })
        }
        Typed::Object { of, .. } => {
            let error = Diagnostic::script(format!("`{expr}` is a whole `{of}`")).at(expr.position);
            Err(match of.member_names().first() {
                Some(first) => error.help(format!("name a member: {expr}.{first}   (skep list {})", listed(&of))),
                None => error.help(format!("some of its bytes: buf({expr}, 16)")),
            })
        }
        other => Ok(other),
    }
}
