//! Functions of kernel expressions: what lies behind an address, bytes turned round, numbers shown by name.

use super::members::{address, bytes_at, memory_of, settled};
use super::operators::text_is;
use super::scope::{Arguments, LONGEST_TEXT, Scope, TEXT_SIZE, Typed};
use super::{network, number, paths, resolve, stacks};
use crate::aggregate::column::{BytesShow, Show};
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Function, Node};
use crate::network::names;
use crate::slot::ir::{Int, Memory, Size, StackOf, Text};

pub fn call(function: Function, arguments: &[Expr], expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let Some(first) = arguments.first() else {
        return Err(Diagnostic::script(format!("`{}` needs an argument", function.name())).at(expr.position));
    };
    let shown = |show| number(first, scope).map(|(int, ..)| Typed::shown(int, show));
    match function {
        Function::Kstack => stacks::stack(StackOf::Kernel, Some(first), expr, scope),
        Function::Ustack => stacks::stack(StackOf::User, Some(first), expr, scope),
        Function::Str => text(first, length(arguments, expr)?, expr, scope),
        Function::Buf => bytes(first, length(arguments, expr)?, expr, scope),
        Function::Path => paths::path(first, arguments.get(1), expr, scope),
        Function::Sock | Function::Skb | Function::Sockaddr => Err(network::whole(function, first, expr)),
        Function::InCidr => match arguments.get(1).map(|prefix| &*prefix.node) {
            Some(Node::Text(prefix)) => Ok(Typed::Test(network::in_cidr(first, prefix, scope)?)),
            _ => Err(Diagnostic::script("`in_cidr` needs a prefix")
                .help("in_cidr(sock(args.sk).daddr, \"10.0.0.0/8\")")
                .at(expr.position)),
        },
        Function::Tcpdump => network::tcpdump(first, expr, scope),
        Function::Ntop => ip(first, scope).map_err(|error| error.at(expr.position)),
        Function::Ntohs => swapped(Size::B2, first, scope),
        Function::Ntohl => swapped(Size::B4, first, scope),
        Function::Ntohll => swapped(Size::B8, first, scope),
        Function::UserPointer => pointer(first, Memory::User, scope),
        Function::KernelPointer => pointer(first, Memory::Kernel, scope),
        Function::Strerror => shown(Show::Errno),
        Function::SignalName => shown(Show::Signal),
        Function::SyscallName => shown(Show::Syscall),
        Function::CgroupPath => shown(Show::Cgroup),
        Function::UserName => shown(Show::User),
        Function::TcpState => shown(Show::Enum(names::tcp_states())),
        Function::Ksym => {
            let (int, ..) = number(first, scope)?;
            Ok(Typed::Int { int, unsigned: true, show: Show::KernelSymbol })
        }
        Function::Usym => {
            let (address, ..) = number(first, scope)?;
            Ok(Typed::UserAddress { address, pid: super::names::process(scope) })
        }
        Function::StartsWith => match arguments.get(1).map(|text| &*text.node) {
            Some(Node::Text(text)) => Ok(Typed::Test(text_is(first, text, true, expr, scope)?)),
            _ => Err(Diagnostic::script("`starts_with` needs a text")
                .help("starts_with(comm, \"ba\")")
                .at(expr.position)),
        },
    }
}

/// The length that a call asks for.
fn length(arguments: &[Expr], expr: &Expr) -> Result<Option<u16>, Diagnostic> {
    match arguments.get(1).map(|size| &*size.node) {
        None => Ok(None),
        Some(Node::Int(size)) if (1..=LONGEST_TEXT).contains(size) => Ok(Some(*size as u16)),
        Some(_) => Err(Diagnostic::script(format!("the length in `{expr}` must be a number from 1 to {LONGEST_TEXT}"))
            .at(expr.position)),
    }
}

fn text(first: &Expr, size: Option<u16>, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let at = |pointer, memory| Typed::Text { text: Text::At { pointer, memory }, size: size.unwrap_or(TEXT_SIZE) };
    let typed = match resolve(first, scope)? {
        Typed::Int { int, .. } | Typed::UserAddress { address: int, .. } => {
            return Ok(at(int, memory_of(first, scope)));
        }
        Typed::Pointer { int, memory, .. } => return Ok(at(int, memory)),
        other => settled(other, first)?,
    };
    match typed {
        Typed::Text { text, size: whole } => Ok(Typed::Text { text, size: size.unwrap_or(whole) }),
        Typed::Bytes { bytes, size: whole, .. } => {
            Ok(Typed::Text { text: bytes, size: size.unwrap_or(whole).next_multiple_of(8) })
        }
        _ => Err(Diagnostic::script(format!("`{first}` is no address")).at(expr.position)),
    }
}

fn bytes(first: &Expr, size: Option<u16>, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let show = BytesShow::Hex;
    let at =
        |pointer, memory| Typed::Bytes { bytes: Text::At { pointer, memory }, size: size.unwrap_or(TEXT_SIZE), show };
    match resolve(first, scope)? {
        bytes @ Typed::Bytes { .. } => Ok(bytes),
        Typed::Text { text, size } => Ok(Typed::Bytes { bytes: text, size, show }),
        Typed::Int { int, .. } | Typed::UserAddress { address: int, .. } => Ok(at(int, memory_of(first, scope))),
        Typed::Pointer { int, memory, .. } => Ok(at(int, memory)),
        Typed::Object { place, of } => {
            let whole = of.size().unwrap_or(0).min(LONGEST_TEXT as usize) as u16;
            let size = size.unwrap_or(TEXT_SIZE).min(whole.max(1));
            Ok(Typed::Bytes { bytes: bytes_at(place, size), size, show })
        }
        Typed::Test(_) | Typed::Path { .. } | Typed::Called { .. } | Typed::Address { .. } => {
            Err(Diagnostic::script(format!("`{first}` is no address")).at(expr.position))
        }
    }
}

/// An IP address from its 4 or 16 bytes, or from the 32-bit number that the kernel keeps it in.
fn ip(first: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let show = BytesShow::Ip;
    match resolve(first, scope)? {
        address @ Typed::Address { .. } => Ok(address),
        Typed::Bytes { bytes, size: size @ (4 | 16), .. } => Ok(Typed::Bytes { bytes, size, show }),
        Typed::Int { int: Int::Load { place, size: Size::B4, .. }, .. } => {
            Ok(Typed::Bytes { bytes: bytes_at(place, 4), size: 4, show })
        }
        Typed::Object { place, of } if matches!(of.size(), Some(4 | 16)) => {
            let size = of.size().unwrap_or(0) as u16;
            Ok(Typed::Bytes { bytes: bytes_at(place, size), size, show })
        }
        unchecked if scope.arguments == Arguments::Unchecked => Ok(unchecked),
        _ => Err(Diagnostic::script(format!("`{first}` is no address of 4 or 16 bytes"))
            .help("ntop(args.daddr), or ntop(buf(arg1, 4)) for an address in memory")
            .at(first.position)),
    }
}

fn swapped(size: Size, first: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let (int, ..) = number(first, scope)?;
    let int = Int::Swap { size, inner: Box::new(int) };
    Ok(Typed::Int { int, unsigned: size == Size::B8, show: Show::Decimal })
}

/// The same address in another memory.
fn pointer(first: &Expr, memory: Memory, scope: &Scope) -> Result<Typed, Diagnostic> {
    Ok(match resolve(first, scope)? {
        Typed::Pointer { int, to, stars, .. } => Typed::Pointer { int, to, stars, memory },
        Typed::Object { place, of } => match address(place) {
            Some(int) => Typed::Pointer { int, to: of, stars: 1, memory },
            None => return Err(Diagnostic::script(format!("`{first}` has no address")).at(first.position)),
        },
        _ => Typed::address(number(first, scope)?.0),
    })
}
