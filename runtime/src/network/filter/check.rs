//! What a filter asks of a frame: one tree for the kernel and for captures that are read here.

use crate::slot::fold;
use crate::slot::ir::{Arithmetic, Comparison, Size};

/// A test of a frame. A number that lies beyond the frame's end ends the whole filter: the frame does not pass, `not` or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    Constant(bool),
    /// Both sides are unsigned.
    Compare {
        op: Comparison,
        left: Value,
        right: Value,
    },
    /// From left to right, until one decides.
    And(Vec<Check>),
    Or(Vec<Check>),
    Not(Box<Check>),
}

/// A number of 32 bits; what goes beyond them is cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Number(u32),
    /// Of the whole packet, as far as that is known, not only of what was kept of it.
    Length,
    /// In the order of the network: at `base`, and `index` bytes behind it.
    Load {
        base: u32,
        index: Option<Box<Value>>,
        size: Size,
    },
    Binary {
        op: Arithmetic,
        left: Box<Value>,
        right: Box<Value>,
    },
}

/// The frame ends before a number that is asked for.
struct Beyond;

impl Check {
    pub fn equal(left: Value, right: u32) -> Check {
        Check::compare(Comparison::Equal, left, right)
    }

    pub fn compare(op: Comparison, left: Value, right: u32) -> Check {
        Check::Compare { op, left, right: Value::Number(right) }
    }

    pub fn turned(self) -> Check {
        Check::Not(Box::new(self))
    }

    /// Does this frame, of a packet of `length` bytes, pass?
    pub fn passes(&self, frame: &[u8], length: u32) -> bool {
        self.of(frame, length).unwrap_or(false)
    }

    fn of(&self, frame: &[u8], length: u32) -> Result<bool, Beyond> {
        Ok(match self {
            Check::Constant(known) => *known,
            Check::Compare { op, left, right } => {
                let (left, right) = (left.of(frame, length)?, right.of(frame, length)?);
                match op {
                    Comparison::Equal => left == right,
                    Comparison::NotEqual => left != right,
                    Comparison::Less => left < right,
                    Comparison::LessOrEqual => left <= right,
                    Comparison::Greater => left > right,
                    Comparison::GreaterOrEqual => left >= right,
                }
            }
            Check::And(checks) => {
                for check in checks {
                    if !check.of(frame, length)? {
                        return Ok(false);
                    }
                }
                true
            }
            Check::Or(checks) => {
                for check in checks {
                    if check.of(frame, length)? {
                        return Ok(true);
                    }
                }
                false
            }
            Check::Not(check) => !check.of(frame, length)?,
        })
    }
}

impl Value {
    pub fn load(base: u32, size: Size) -> Value {
        Value::Load { base, index: None, size }
    }

    /// Two numbers make one at once.
    pub fn binary(op: Arithmetic, left: Value, right: Value) -> Value {
        match (&left, &right) {
            (Value::Number(left), Value::Number(right)) => Value::Number(arithmetic(op, *left, *right)),
            _ => Value::Binary { op, left: Box::new(left), right: Box::new(right) },
        }
    }

    pub fn and(self, mask: u32) -> Value {
        if mask == u32::MAX { self } else { Value::binary(Arithmetic::And, self, Value::Number(mask)) }
    }

    fn of(&self, frame: &[u8], length: u32) -> Result<u32, Beyond> {
        Ok(match self {
            Value::Number(number) => *number,
            Value::Length => length,
            Value::Load { base, index, size } => {
                let index = index.as_ref().map_or(Ok(0), |index| index.of(frame, length))?;
                let at = *base as usize + index as usize;
                let bytes = frame.get(at..at + usize::from(size.bytes())).ok_or(Beyond)?;
                bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
            }
            Value::Binary { op, left, right } => arithmetic(*op, left.of(frame, length)?, right.of(frame, length)?),
        })
    }
}

fn arithmetic(op: Arithmetic, left: u32, right: u32) -> u32 {
    match op {
        // What is shifted by 32 bits or more is gone.
        Arithmetic::ShiftLeft | Arithmetic::ShiftRight if right > 31 => 0,
        _ => fold::arithmetic(op, false, left.into(), right.into()) as u32,
    }
}
