//! Tests of the slot compiler: jumps that leave as soon as the outcome is known; no truth is stored unless asked for.

use super::assembler::{Condition, Insn, Label, Operand, Reg};
use super::facts::range;
use super::frame::{Frame, imm};
use super::ir::{Arithmetic, Comparison, Current, Int, Reading, Size, Test};

/// The left side of a comparison that stays in its register for the next one, and how many of its bits are right.
type Kept = Option<(Reg, u32)>;

impl Frame {
    /// 1 or 0 in a register of its own.
    pub fn truth(&mut self, test: &Test, wish: Option<Reg>) -> Reg {
        let (far, end) = (self.code.label(), self.code.label());
        let when = ends_well_on_true(test);
        self.jump_when(test, when, far);
        let reg = self.pick(wish);
        // The usual end is one conditional jump: set the register before it, and it can jump over the other value.
        let (first, jump) = match self.code.take_jump(far, reg) {
            Some((last, true)) => (when, last),
            Some((last, false)) => (!when, last.inverted().unwrap_or(last)),
            None => (!when, Insn::goto(0)),
        };
        self.constant(reg, u64::from(first));
        self.code.jump(jump, end);
        self.code.bind(far);
        self.constant(reg, u64::from(!first));
        self.code.bind(end);
        reg
    }

    /// Either way the value ends in the same register.
    pub fn choose(&mut self, test: &Test, yes: &Int, no: &Int, wish: Option<Reg>, bits: u32) -> Reg {
        let (other, end) = (self.code.label(), self.code.label());
        self.jump_when(test, false, other);
        let reg = self.int(yes, wish, bits);
        self.code.jump(Insn::goto(0), end);
        self.code.bind(other);
        self.free(reg);
        let found = self.int(no, Some(reg), bits);
        self.free(found);
        self.pick(Some(reg));
        self.move_to(reg, found);
        self.code.bind(end);
        reg
    }

    /// Jumps where the test's outcome is `when`, else goes on behind.
    pub fn jump_when(&mut self, test: &Test, when: bool, to: Label) {
        match test {
            Test::Constant(known) if *known == when => self.code.jump(Insn::goto(0), to),
            Test::Constant(_) => {}
            Test::Compare { .. } => {
                self.compare(test, when, to, None, false);
            }
            Test::TextIs { text, literal, prefix } => self.text_is(text, literal, *prefix, when, to),
            Test::TextsEqual { left, right, size } => self.texts_equal(left, right, *size, when, to),
            Test::And(tests) => self.list(tests, false, when, to),
            Test::Or(tests) => self.list(tests, true, when, to),
            Test::Not(inner) => self.jump_when(inner, !when, to),
            Test::Within(inner) => self.within(inner, when, to),
        }
    }

    /// `Or` (`early`: true ends it) or `And`: each member in turn, until one decides.
    fn list(&mut self, tests: &[Test], early: bool, when: bool, to: Label) {
        let behind = self.code.label();
        let mut kept = None;
        for (at, test) in tests.iter().enumerate() {
            let next = tests.get(at + 1);
            let (outcome, target) = if early == when || next.is_none() { (when, to) } else { (early, behind) };
            match test {
                Test::Compare { .. } => {
                    kept = self.compare(test, outcome, target, kept, next.is_some_and(|next| same_left(test, next)));
                }
                _ => self.jump_when(test, outcome, target),
            }
        }
        self.code.bind(behind);
    }

    fn compare(&mut self, test: &Test, when: bool, to: Label, kept: Kept, keep: bool) -> Kept {
        let Test::Compare { op, reading, left, right } = test else {
            return None;
        };
        if *reading == Reading::SignedWithUnsigned {
            self.compare_mixed(*op, left, right, when, to);
            return None;
        }
        let op = if when { *op } else { inverse(*op) };
        if let (Comparison::NotEqual, Int::Constant(0), None, false) = (op, right, kept, keep)
            && let Int::Binary { op: Arithmetic::And, left: inner, right: mask, .. } = left
            && let Int::Constant(mask) = **mask
            && let Some(low) = imm(mask)
        {
            let reg = self.int(inner, None, 64 - mask.leading_zeros());
            self.jump(Condition::AnyBit, true, reg, Operand::Imm(low), to);
            self.free(reg);
            return None;
        }
        let both_within = |low, high| [range(left), range(right)].iter().all(|side| side.0 >= low && side.1 <= high);
        let (natural, int32) = (both_within(0, u32::MAX.into()), both_within(i32::MIN.into(), i32::MAX.into()));
        let constant = if let Int::Constant(value) = right { Some(*value) } else { None };
        let gains = grows(left) || grows(right) || constant.is_some_and(|value| imm(value).is_none());
        let wide = !(gains && (natural || int32));
        let bits = if wide { 64 } else { 32 };
        let immediate = constant.and_then(|value| if wide { imm(value) } else { Some(value as i32) });
        let kept = kept.filter(|(reg, kept)| {
            let fits = *kept == bits;
            fits || {
                self.free(*reg);
                false
            }
        });
        let (left, right) = match (kept, immediate) {
            (Some((reg, _)), Some(value)) => (reg, Operand::Imm(value)),
            (None, Some(value)) => (self.int(left, None, bits), Operand::Imm(value)),
            (Some((reg, _)), None) => (reg, Operand::Reg(self.int(right, None, bits))),
            (None, None) => {
                let (left, right) = self.pair(left, right, (bits, bits), None);
                (left, Operand::Reg(right))
            }
        };
        let signed = *reading == Reading::Signed && (wide || !natural);
        self.jump(condition(op, signed), wide, left, right, to);
        if let Operand::Reg(right) = right {
            self.free(right);
        }
        if keep {
            return Some((left, bits));
        }
        self.free(left);
        None
    }

    /// A negative left side is below every unsigned right side.
    fn compare_mixed(&mut self, op: Comparison, left: &Int, right: &Int, when: bool, to: Label) {
        let behind = self.code.label();
        let (left, right) = self.pair(left, right, (64, 64), None);
        let holds_below = matches!(op, Comparison::Less | Comparison::LessOrEqual | Comparison::NotEqual);
        let decided = if holds_below == when { to } else { behind };
        self.jump(Condition::SignedLess, true, left, Operand::Imm(0), decided);
        let op = if when { op } else { inverse(op) };
        self.jump(condition(op, false), true, left, Operand::Reg(right), to);
        self.code.bind(behind);
        self.free(left);
        self.free(right);
    }
}

/// Whether the test's code best jumps away on true: then its last instruction is a conditional jump.
fn ends_well_on_true(test: &Test) -> bool {
    match test {
        Test::Or(_) => true,
        Test::Not(inner) => !ends_well_on_true(inner),
        _ => false,
    }
}

/// Whether the left side of the first comparison can serve the next one too. A constant on the right needs no call.
fn same_left(first: &Test, next: &Test) -> bool {
    match (first, next) {
        (
            Test::Compare { left, right: Int::Constant(_), .. },
            Test::Compare { left: again, right: Int::Constant(_), .. },
        ) => left == again,
        _ => false,
    }
}

/// Whether the low half alone is cheaper to have than the whole.
fn grows(tree: &Int) -> bool {
    use Arithmetic::{Add, And, Multiply, Or, Subtract, Xor};
    match tree {
        Int::Load { size: Size::B4, signed: true, .. } | Int::Current(Current::Tid | Current::Uid) => true,
        Int::Binary { op: Add | Subtract | Multiply | And | Or | Xor, left, right, .. } => grows(left) || grows(right),
        _ => false,
    }
}

fn inverse(op: Comparison) -> Comparison {
    match op {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
    }
}

fn condition(op: Comparison, signed: bool) -> Condition {
    match (op, signed) {
        (Comparison::Equal, _) => Condition::Equal,
        (Comparison::NotEqual, _) => Condition::NotEqual,
        (Comparison::Less, false) => Condition::Less,
        (Comparison::LessOrEqual, false) => Condition::LessOrEqual,
        (Comparison::Greater, false) => Condition::Greater,
        (Comparison::GreaterOrEqual, false) => Condition::GreaterOrEqual,
        (Comparison::Less, true) => Condition::SignedLess,
        (Comparison::LessOrEqual, true) => Condition::SignedLessOrEqual,
        (Comparison::Greater, true) => Condition::SignedGreater,
        (Comparison::GreaterOrEqual, true) => Condition::SignedGreaterOrEqual,
    }
}
