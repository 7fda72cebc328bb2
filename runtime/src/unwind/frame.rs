//! One frame: from a function's registers to its caller's, by a row of its unwind table or by its frame pointer.

use super::registers::Registers;
use super::sample::Stack;
use crate::symbols::reason;
use gimli::{Encoding, EndianSlice, Evaluation, EvaluationResult, Expression, LittleEndian, Location, Value};

/// Operations of one expression; real ones have about ten.
const OPERATIONS: u32 = 1000;

/// What an unwind table says of one address.
#[derive(Clone, Debug)]
pub struct Row {
    pub cfa: Cfa,
    /// Of each register by its place; those that are not here keep their values.
    pub rules: Vec<(usize, Rule)>,
    /// The place that the return address is found in.
    pub back: usize,
    /// A signal interrupted the caller: it did not call.
    pub signal: bool,
}

/// The canonical frame address: the caller's stack pointer.
#[derive(Clone, Debug)]
pub enum Cfa {
    Register(usize, i64),
    Computed(Computed),
}

/// How a register of the caller is found.
#[derive(Clone, Debug)]
pub enum Rule {
    Undefined,
    /// Saved so many bytes from the CFA.
    Saved(i64),
    /// The CFA and so many bytes.
    Offset(i64),
    Register(usize),
    SavedAt(Computed),
    Computed(Computed),
}

/// An expression of DWARF.
#[derive(Clone, Debug)]
pub struct Computed {
    pub code: Box<[u8]>,
    pub encoding: Encoding,
}

/// The caller's registers; `None`: there is no caller, the stack is complete.
pub type Caller = Result<Option<Registers>, &'static str>;

impl Row {
    /// Does a function here still have its return address in a register? Only one that calls nobody may.
    pub fn is_leaf(&self) -> bool {
        self.rules.iter().all(|(place, _)| *place != self.back)
    }

    /// # Errors
    /// Why the caller is not found.
    pub fn caller(&self, here: &Registers, stack: &Stack) -> Caller {
        let cfa = match &self.cfa {
            Cfa::Register(place, offset) => here.0[*place].checked_add_signed(*offset),
            Cfa::Computed(computed) => computed.value(here, stack, None),
        };
        let cfa = cfa.ok_or(reason::TABLES_DAMAGED)?;
        let mut caller = *here;
        for (place, rule) in &self.rules {
            let found = match rule {
                Rule::Undefined if *place == self.back => return Ok(None),
                Rule::Undefined => Some(0),
                Rule::Saved(offset) => cfa.checked_add_signed(*offset).and_then(|address| stack.read(address, 8)),
                Rule::Offset(offset) => cfa.checked_add_signed(*offset),
                Rule::Register(other) => Some(here.0[*other]),
                Rule::SavedAt(computed) => {
                    computed.value(here, stack, Some(cfa)).and_then(|address| stack.read(address, 8))
                }
                Rule::Computed(computed) => computed.value(here, stack, Some(cfa)),
            };
            match found {
                Some(value) => caller.0[*place] = value,
                None if *place == self.back => return Err(unread(cfa, stack)),
                // Where a register was popped, tables still say that it is below the stack's top: it has its value.
                None => {}
            }
        }
        let ip = caller.0[self.back];
        let sp = if self.signal { caller.sp() } else { cfa };
        Ok((ip != 0).then(|| caller.returned(ip, sp)))
    }
}

/// The caller of code that no table covers, if it keeps frame pointers: as code written at run time often does.
///
/// # Errors
/// It does not.
pub fn by_frame_pointer(here: &Registers, stack: &Stack) -> Caller {
    let frame = here.frame();
    // So the outermost function finds it, by all conventions.
    if frame == 0 {
        return Ok(None);
    }
    let saved = |offset| frame.checked_add(offset).filter(|_| frame >= here.sp()).and_then(|at| stack.read(at, 8));
    let (Some(outer), Some(ip)) = (saved(0), saved(8)) else {
        return Err(if stack.cut && frame > here.sp() { reason::STACK_CUT } else { reason::NO_TABLES });
    };
    Ok((ip != 0).then(|| here.with_frame(outer).returned(ip, frame.saturating_add(16))))
}

/// Why memory at a caller's stack pointer is not known.
fn unread(address: u64, stack: &Stack) -> &'static str {
    match address.checked_sub(stack.top) {
        Some(_) if stack.cut => reason::STACK_CUT,
        Some(_) => reason::STACK_UNREADABLE,
        None => reason::TABLES_DAMAGED,
    }
}

impl Computed {
    /// `None`: it is damaged, or reads what was not copied.
    fn value(&self, here: &Registers, stack: &Stack, first: Option<u64>) -> Option<u64> {
        let code = Expression(EndianSlice::new(&self.code, LittleEndian));
        let mut evaluation: Evaluation<EndianSlice<'_, LittleEndian>> = code.evaluation(self.encoding);
        evaluation.set_max_iterations(OPERATIONS);
        if let Some(first) = first {
            evaluation.set_initial_value(first);
        }
        let mut state = evaluation.evaluate().ok()?;
        loop {
            state = match state {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = here.0[Registers::place(register.0)?];
                    evaluation.resume_with_register(Value::Generic(value)).ok()?
                }
                EvaluationResult::RequiresMemory { address, size, .. } => {
                    let value = stack.read(address, size)?;
                    evaluation.resume_with_memory(Value::Generic(value)).ok()?
                }
                _ => return None,
            };
        }
        match evaluation.as_result().last()?.location {
            Location::Address { address } => Some(address),
            Location::Value { value: Value::Generic(value) } => Some(value),
            _ => None,
        }
    }
}
