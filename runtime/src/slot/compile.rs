//! The slot compiler: typed trees in, the body of a slot function out. Pure; no privilege.
//!
//! A body starts at the function's first instruction, ends in its only `exit`, needs CPU v3 (Linux 5.10), and uses no
//! map and no relocation. r6-r9 need not be preserved: the kernel saves them around a call of a subprogram.

use super::assembler::Insn;
use super::fold;
use super::frame::{Frame, R0};
use super::ir::{Column, Int, Test};
use std::fmt;

/// Instructions that a slot may have: what unprivileged programs may have, far below the verifier's million steps.
pub const ROOM: usize = 4096;
/// Bytes of stack: the kernel allows 512 over the whole call chain, the templates keep the rest.
pub const STACK: usize = 192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Instructions,
    Stack,
}

/// The expression does not fit into a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge {
    pub what: What,
    pub needed: usize,
    pub room: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needed, room) = (thousands(self.needed), thousands(self.room));
        match self.what {
            What::Instructions => write!(f, "needs {needed} instructions, a slot holds {room}"),
            What::Stack => write!(f, "needs {needed} bytes of stack, a slot has {room}"),
        }
    }
}

impl std::error::Error for TooLarge {}

fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", thousands(number / 1000), number % 1000) }
}

/// The body of `long slot_filter(void *ctx, void *event)`: 1 where the test holds, else 0.
///
/// # Errors
/// The code is too long, or its intermediate values and texts need too much stack.
pub fn filter(test: &Test) -> Result<Vec<Insn>, TooLarge> {
    value(&Int::Truth(Box::new(test.clone())))
}

/// The body of `long slot_value(void *ctx, void *event)`: the value, all 64 bits.
///
/// # Errors
/// As for [`filter`].
pub fn value(int: &Int) -> Result<Vec<Insn>, TooLarge> {
    let int = fold::int(int);
    compile(|frame| {
        let reg = frame.int(&int, Some(R0), 64);
        frame.move_to(R0, reg);
    })
}

/// The body of `long slot_columns(void *ctx, void *event, void *out)`: writes each column at its offset of `out`, which
/// is aligned to 8; returns 0. `clear`: `out` may be stack memory that nobody has written, and every byte of every
/// column is defined; a text is zero behind its NUL. An integer column is exactly as wide as its `Size`: gaps between
/// columns are the caller's.
///
/// # Errors
/// As for [`filter`].
pub fn columns(columns: &[Column], clear: bool) -> Result<Vec<Insn>, TooLarge> {
    let columns: Vec<Column> = columns.iter().map(fold::column).collect();
    compile(|frame| {
        columns.iter().for_each(|column| frame.column(column, clear));
        frame.constant(R0, 0);
    })
}

fn compile(body: impl Fn(&mut Frame)) -> Result<Vec<Insn>, TooLarge> {
    let mut first = Frame::new(None);
    body(&mut first);
    let mut frame = Frame::new(Some(first.usage()));
    body(&mut frame);
    frame.code.emit(Insn::exit());
    let (code, stack) = frame.finish();
    match (code.len(), stack) {
        (_, needed) if needed > STACK => Err(TooLarge { what: What::Stack, needed, room: STACK }),
        (needed, _) if needed > ROOM => Err(TooLarge { what: What::Instructions, needed, room: ROOM }),
        _ => Ok(code),
    }
}
