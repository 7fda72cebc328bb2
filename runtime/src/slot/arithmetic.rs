//! Arithmetic of the slot compiler: pairs of operands, and the signed division that CPU v3 lacks.

use super::assembler::{Alu, Condition, Insn, Operand, Reg};
use super::facts::{calls, range, weight};
use super::frame::{Frame, imm};
use super::ir::{Arithmetic, Int};

impl Frame {
    /// Both values, each in a register of its own; `bits` as for [`Frame::int`]. The wish is the left side's.
    pub fn pair(&mut self, left: &Int, right: &Int, bits: (u32, u32), wish: Option<Reg>) -> (Reg, Reg) {
        // A side that calls goes first if the other does not, so that nothing has to survive its calls.
        let right_first = match (calls(left), calls(right)) {
            (true, false) => false,
            (false, true) => true,
            _ => weight(right) > weight(left),
        };
        let ((first, first_bits), (second, second_bits)) =
            if right_first { ((right, bits.1), (left, bits.0)) } else { ((left, bits.0), (right, bits.1)) };
        let over_calls = calls(second);
        let first_wish = if over_calls { self.survivor() } else { wish.filter(|_| !right_first) };
        let first = self.int(first, first_wish, first_bits);
        let depth = self.depth();
        let held = self.hold(first, over_calls);
        let second = self.int(second, wish.filter(|_| right_first), second_bits);
        let first = self.unhold(held);
        self.release(depth);
        if right_first { (second, first) } else { (first, second) }
    }

    pub fn binary(
        &mut self,
        op: Arithmetic,
        signed: bool,
        left: &Int,
        right: &Int,
        wish: Option<Reg>,
        bits: u32,
    ) -> Reg {
        use Arithmetic::*;
        // Carries and shifts left only move upwards: the low bits of the result need no more of the operands.
        let low = if matches!(op, Add | Subtract | Multiply | And | Or | Xor | ShiftLeft) { bits } else { 64 };
        if let Int::Constant(value) = *right {
            return self.binary_constant(op, signed, left, value, wish, low);
        }
        if let (Subtract, Int::Constant(0)) = (op, left) {
            let reg = self.int(right, wish, low);
            self.negate(reg);
            return reg;
        }
        let shift = matches!(op, ShiftLeft | ShiftRight);
        let (least, most) = range(right);
        let mask = shift && (least < 0 || most > 63);
        let right_bits = match shift {
            true if mask => 8,
            true => 64,
            false => low,
        };
        let (left, right) = self.pair(left, right, (low, right_bits), wish);
        if mask {
            self.alu(Alu::And, right, Operand::Imm(63));
        }
        if signed && matches!(op, Divide | Remainder) {
            self.divide_signed(op, left, right);
        } else {
            self.alu(alu(op, signed), left, Operand::Reg(right));
        }
        self.free(right);
        left
    }

    fn binary_constant(
        &mut self,
        op: Arithmetic,
        signed: bool,
        left: &Int,
        c: u64,
        wish: Option<Reg>,
        low: u32,
    ) -> Reg {
        use Arithmetic::*;
        let c = if low <= 32 && !matches!(op, ShiftLeft) { c as i32 as u64 } else { c };
        let low = if op == And { low.min(64 - c.leading_zeros()) } else { low };
        let reg = self.int(left, wish, low);
        let operand = imm(c).map(Operand::Imm);
        match (op, operand) {
            (Divide | Remainder, _) if signed => self.divide_signed_constant(op, reg, c as i64),
            (And, None) if c == u64::from(u32::MAX) => self.code.emit(Insn::alu32(Alu::Move, reg, Operand::Reg(reg))),
            (And, None) if c < u32::MAX.into() => self.code.emit(Insn::alu32(Alu::And, reg, Operand::Imm(c as i32))),
            (_, Some(operand)) => self.alu(alu(op, signed), reg, operand),
            (_, None) => {
                let constant = self.pick(None);
                self.constant(constant, c);
                self.alu(alu(op, signed), reg, Operand::Reg(constant));
                self.free(constant);
            }
        }
        reg
    }

    /// `reg = |reg|`, as an unsigned number.
    fn absolute(&mut self, reg: Reg) {
        self.skip_one(Condition::SignedGreaterOrEqual, reg, Operand::Imm(0));
        self.negate(reg);
    }

    /// Skips the next instruction where the condition holds.
    pub fn skip_one(&mut self, condition: Condition, reg: Reg, operand: Operand) {
        self.code.emit(Insn::jump(condition, true, reg, operand, 1));
    }

    /// Divides the magnitudes and sets the sign: that of the left side for a remainder, else that of the product.
    fn divide_signed(&mut self, op: Arithmetic, left: Reg, right: Reg) {
        let sign = self.pick(None);
        self.move_to(sign, left);
        if op == Arithmetic::Divide {
            self.alu(Alu::Xor, sign, Operand::Reg(right));
        }
        self.absolute(left);
        self.absolute(right);
        self.alu(alu(op, false), left, Operand::Reg(right));
        self.skip_one(Condition::SignedGreaterOrEqual, sign, Operand::Imm(0));
        self.negate(left);
        self.free(sign);
    }

    fn divide_signed_constant(&mut self, op: Arithmetic, left: Reg, divisor: i64) {
        if divisor == -1 {
            return self.negate(left);
        }
        let sign = self.pick(None);
        self.move_to(sign, left);
        self.absolute(left);
        match imm(divisor.unsigned_abs()) {
            Some(magnitude) => self.alu(alu(op, false), left, Operand::Imm(magnitude)),
            None => {
                let magnitude = self.pick(None);
                self.constant(magnitude, divisor.unsigned_abs());
                self.alu(alu(op, false), left, Operand::Reg(magnitude));
                self.free(magnitude);
            }
        }
        let flips = op == Arithmetic::Divide && divisor < 0;
        let keeps = if flips { Condition::SignedLess } else { Condition::SignedGreaterOrEqual };
        self.skip_one(keeps, sign, Operand::Imm(0));
        self.negate(left);
        self.free(sign);
    }
}

fn alu(op: Arithmetic, signed: bool) -> Alu {
    match op {
        Arithmetic::Add => Alu::Add,
        Arithmetic::Subtract => Alu::Subtract,
        Arithmetic::Multiply => Alu::Multiply,
        Arithmetic::Divide => Alu::Divide,
        Arithmetic::Remainder => Alu::Remainder,
        Arithmetic::And => Alu::And,
        Arithmetic::Or => Alu::Or,
        Arithmetic::Xor => Alu::Xor,
        Arithmetic::ShiftLeft => Alu::ShiftLeft,
        Arithmetic::ShiftRight if signed => Alu::ShiftRightSigned,
        Arithmetic::ShiftRight => Alu::ShiftRight,
    }
}
