//! Functions of kernel expressions: `str`, `buf`, `ntop`, `starts_with`.

use super::operators::text_is;
use super::resolve;
use super::scope::{Arguments, LONGEST_TEXT, Scope, TEXT_SIZE, Typed};
use crate::aggregate::column::BytesShow;
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Function, Node};
use crate::slot::ir::Text;

pub fn call(function: Function, arguments: &[Expr], expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let size = |default: u16| match arguments.get(1).map(|size| &*size.node) {
        None => Ok(default),
        Some(Node::Int(size)) if (1..=LONGEST_TEXT).contains(size) => Ok(*size as u16),
        Some(_) => Err(Diagnostic::script(format!("the length in `{expr}` must be a number from 1 to {LONGEST_TEXT}"))
            .at(expr.position)),
    };
    let Some(first) = arguments.first() else {
        return Err(Diagnostic::script(format!("`{}` needs an argument", function.name())).at(expr.position));
    };
    match function {
        Function::Str => match resolve(first, scope)? {
            Typed::Text { text, size: whole } => Ok(Typed::Text { text, size: size(whole)? }),
            Typed::Int { int, .. } => {
                Ok(Typed::Text { text: Text::At { pointer: int, memory: scope.memory }, size: size(TEXT_SIZE)? })
            }
            Typed::Bytes { bytes, size, .. } => Ok(Typed::Text { text: bytes, size: size.next_multiple_of(8) }),
            Typed::Test(_) => Err(Diagnostic::script(format!("`{first}` is no address")).at(expr.position)),
        },
        Function::Buf => match resolve(first, scope)? {
            bytes @ Typed::Bytes { .. } => Ok(bytes),
            Typed::Text { text, size } => Ok(Typed::Bytes { bytes: text, size, show: BytesShow::Hex }),
            Typed::Int { int, .. } => {
                let bytes = Text::At { pointer: int, memory: scope.memory };
                Ok(Typed::Bytes { bytes, size: size(TEXT_SIZE)?, show: BytesShow::Hex })
            }
            Typed::Test(_) => Err(Diagnostic::script(format!("`{first}` is no address")).at(expr.position)),
        },
        Function::Ntop => match resolve(first, scope)? {
            Typed::Bytes { bytes, size: size @ (4 | 16), .. } => Ok(Typed::Bytes { bytes, size, show: BytesShow::Ip }),
            unchecked if scope.arguments == Arguments::Unchecked => Ok(unchecked),
            _ => Err(Diagnostic::script(format!("`{first}` is no address of 4 or 16 bytes"))
                .help("ntop(args.daddr), or ntop(buf(arg1, 4)) for an address in memory")
                .at(expr.position)),
        },
        Function::StartsWith => match arguments.get(1).map(|text| &*text.node) {
            Some(Node::Text(text)) => Ok(Typed::Test(text_is(first, text, true, expr, scope)?)),
            _ => Err(Diagnostic::script("`starts_with` needs a text")
                .help("starts_with(comm, \"ba\")")
                .at(expr.position)),
        },
    }
}
