//! Arguments by name, from a prototype in the kernel's types.

use crate::resolve::{self, Argument};
use crate::slot::ir::Int;
use crate::types::Prototype;

/// The arguments of a function or tracepoint; `word` is where the n-th machine word of them lies, if anywhere.
pub fn arguments(prototype: &Prototype, word: impl Fn(usize) -> Option<Int>) -> Vec<Argument> {
    let mut at = 0;
    let mut arguments = Vec::new();
    for (name, of) in &prototype.arguments {
        // A structure that is passed by value takes as many words as it fills.
        let words = of.size().unwrap_or(8).div_ceil(8).max(1);
        if let Some(typed) = word(at).and_then(|int| resolve::passed(int, of)) {
            arguments.push(Argument { name: name.clone(), declared: of.declare(""), typed });
        }
        at += words;
    }
    arguments
}
