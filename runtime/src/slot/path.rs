//! Paths of files in the slot compiler: a walk from a file's name up to the root, across mounts.
//!
//! The walk is a loop. Everything that changes with its steps lies where the verifier keeps no account of values, the
//! position in the column among them: then all ways through a step end in the same state, and the verifier has as many
//! of them to look at as there are steps, not two to their power. What it must know, that a name fits behind that
//! position, is tested anew for each.

use super::assembler::{Alu, Condition, FRAME, Helper, Insn, Label, Operand, Reg};
use super::frame::{Frame, Input, R1, R2, R3, R4, Target};
use super::ir::{Path, Size, Top};
use crate::aggregate::path::{BODY, DELETED, FILE_SYSTEM, FLAGS, NAMELESS, OWN_NAME, ROOTED, TORN};

/// Folders and mounts that are passed: far more than paths have, and the verifier walks each of them.
const STEPS: i32 = 32;
/// The longest name, its NUL included.
const LONGEST_NAME: u16 = 256;
/// Members further apart than this are read each by itself.
const NEARBY: i32 = 64;

/// Members of a structure, copied to the stack together.
struct Copies<const N: usize> {
    /// Offset in the structure, place on the stack, length.
    reads: Vec<(i32, i16, i32)>,
    /// Where each member is then.
    members: [i16; N],
}

/// A walk: where it writes, and what it keeps on the stack.
struct Walk {
    offset: u16,
    size: u16,
    /// Address of the name that it is at, and the members of that.
    dentry: i16,
    name: Copies<4>,
    /// The same of the mount.
    mount: Option<(i16, Copies<3>)>,
    /// Address of the name that it ends at, or leaves the mount by.
    root: i16,
}

impl Frame {
    /// Writes the path of a file as `aggregate::path` reads it; what is not used is zero. No lock is taken: a folder that
    /// is renamed at this moment may be found under both its names, or one that it never had.
    pub fn path_column(&mut self, path: &Path, offset: u16, size: u16) {
        let depth = self.depth();
        self.clear(Target::Out(offset), size);
        let walk = self.walk(path, offset, size);
        let (dentry, [unhashed, parent, ..]) = (walk.dentry, walk.name.members);
        let [mounted, step, known, within, nameless, torn, rooted, done] = [(); 8].map(|()| self.code.label());

        let steps = self.pick(self.survivor());
        self.constant(steps, 0);
        self.code.bind(mounted);
        if let Some((mount, copies)) = &walk.mount {
            self.copy_members(*mount, copies);
        }
        self.code.bind(step);
        self.alu(Alu::Add, steps, Operand::Imm(1));
        self.jump(Condition::Greater, true, steps, Operand::Imm(STEPS), done);
        self.copy_members(dentry, &walk.name);
        // Whatever has a name has a parent: this could not be read.
        self.jump_if(Condition::Equal, parent, Operand::Imm(0), done);
        // The file itself, not a folder above it, may have lost its name. A root never had one.
        self.jump(Condition::NotEqual, true, steps, Operand::Imm(1), known);
        self.jump_if(Condition::NotEqual, unhashed, Operand::Imm(0), known);
        self.jump_if_same(dentry, parent, known);
        self.store(Target::Out(offset), FLAGS, Size::B4, Operand::Imm(DELETED as i32));
        self.code.bind(known);
        let root = self.kept(walk.root);
        self.jump_if(Condition::NotEqual, dentry, Operand::Reg(root), within);
        self.free(root);
        match &walk.mount {
            None => self.code.jump(Insn::goto(0), rooted),
            Some((mount, Copies { members: [above, point, _], .. })) => {
                self.jump_if_same(*above, *mount, rooted);
                self.move_on_stack(*above, *mount);
                self.move_on_stack(*point, dentry);
                self.code.jump(Insn::goto(0), mounted);
            }
        }
        self.code.bind(within);
        self.jump_if_same(dentry, parent, nameless);
        self.append_name(&walk, torn, done);
        self.move_on_stack(parent, dentry);
        self.code.jump(Insn::goto(0), step);
        self.free(steps);

        // Each argument that the loop uses is used once more behind it: its register is not given away within.
        self.code.bind(nameless);
        let used = self.output(offset);
        self.jump(Condition::NotEqual, true, used, Operand::Imm(0), done);
        self.free(used);
        self.describe(&walk, path);
        self.code.jump(Insn::goto(0), done);
        self.code.bind(torn);
        self.add_flag(offset, TORN);
        self.code.jump(Insn::goto(0), done);
        self.code.bind(rooted);
        self.add_flag(offset, ROOTED);
        self.code.bind(done);
        self.release(depth);
    }

    fn walk(&mut self, path: &Path, offset: u16, size: u16) -> Walk {
        let dentry = self.int(&path.dentry, None, 64);
        let dentry = self.keep(dentry);
        let names = &path.names;
        let name = self.copies([names.unhashed, names.parent, names.length, names.text]);
        let (mount, root) = match &path.top {
            Top::Root(members) => {
                let root = self.followed(dentry, members);
                (None, self.keep(root))
            }
            Top::Mounts { mount, above, point, root } => {
                let mount = self.int(mount, None, 64);
                let mount = self.keep(mount);
                let copies = self.copies([*above, *point, *root]);
                let root = copies.members[2];
                (Some((mount, copies)), root)
            }
        };
        Walk { offset, size, dentry, name, mount, root }
    }

    /// Writes the name behind those that are there.
    fn append_name(&mut self, walk: &Walk, torn: Label, done: Label) {
        let (offset, room) = (walk.offset, walk.size - BODY);
        let [_, _, length, text] = walk.name.members;
        let fits = self.code.label();
        let used = self.output(offset);
        // Calls were made: no argument is in the first registers any more.
        let size = self.pick(Some(R2));
        for piece in pieces(room) {
            self.constant(size, piece.into());
            self.jump(Condition::LessOrEqual, true, used, Operand::Imm((room - piece).into()), fits);
        }
        self.code.jump(Insn::goto(0), done);
        self.code.bind(fits);
        let target = Target::Out(offset + BODY);
        self.pass_target(target);
        self.alu(Alu::Add, R1, Operand::Reg(used));
        self.free(used);
        self.move_to(R2, size);
        self.free(size);
        self.code.emit(Insn::load(Size::B8, R3, FRAME, text));
        let written = self.call(Helper::ProbeReadKernelStr);
        self.jump(Condition::SignedLessOrEqual, true, written, Operand::Imm(0), done);
        let used = self.output(offset);
        self.alu(Alu::Add, used, Operand::Reg(written));
        self.store(Target::Out(offset), 0, Size::B4, Operand::Reg(used));
        self.code.emit(Insn::load(Size::B4, used, FRAME, length));
        self.alu(Alu::Add, used, Operand::Imm(1));
        self.jump(Condition::NotEqual, true, used, Operand::Reg(written), torn);
        self.free(used);
        self.free(written);
    }

    /// What the file is that no folder has.
    fn describe(&mut self, walk: &Walk, path: &Path) {
        let Walk { offset, size, dentry, name: Copies { members: [.., text], .. }, .. } = walk;
        self.store(Target::Out(*offset), FLAGS, Size::B4, Operand::Imm(NAMELESS as i32));
        let number = self.followed(*dentry, &path.number);
        self.store(Target::Out(*offset), BODY, Size::B8, Operand::Reg(number));
        self.free(number);
        let file_system = self.followed(*dentry, &path.file_system);
        let name = |from: u16, to: u16| (Target::Out(offset + from), Operand::Imm((to - from).into()));
        let (target, room) = name(FILE_SYSTEM, OWN_NAME);
        self.read(Helper::ProbeReadKernelStr, target, room, file_system);
        let own = self.kept(*text);
        let (target, room) = name(OWN_NAME, *size);
        self.read(Helper::ProbeReadKernelStr, target, room, own);
    }

    fn keep(&mut self, reg: Reg) -> i16 {
        let slot = self.reserve(8);
        self.code.emit(Insn::store(Size::B8, FRAME, slot, Operand::Reg(reg)));
        self.free(reg);
        slot
    }

    fn kept(&mut self, slot: i16) -> Reg {
        let reg = self.pick(Some(R3));
        self.code.emit(Insn::load(Size::B8, reg, FRAME, slot));
        reg
    }

    fn move_on_stack(&mut self, from: i16, to: i16) {
        let reg = self.kept(from);
        self.code.emit(Insn::store(Size::B8, FRAME, to, Operand::Reg(reg)));
        self.free(reg);
    }

    fn jump_if(&mut self, condition: Condition, slot: i16, right: Operand, to: Label) {
        let reg = self.kept(slot);
        self.jump(condition, true, reg, right, to);
        self.free(reg);
    }

    fn jump_if_same(&mut self, left: i16, right: i16, to: Label) {
        let right = self.kept(right);
        self.jump_if(Condition::Equal, left, Operand::Reg(right), to);
        self.free(right);
    }

    /// The word of 8 bytes that a chain of pointers leads to, member by member.
    fn followed(&mut self, pointer: i16, members: &[i32]) -> Reg {
        let depth = self.depth();
        let word = self.reserve(8);
        let mut reg = self.kept(pointer);
        for member in members {
            self.add_offset(reg, *member);
            self.read(Helper::ProbeReadKernel, Target::Stack(word), Operand::Imm(8), reg);
            reg = self.kept(word);
        }
        self.release(depth);
        reg
    }

    /// Room for members of up to 8 bytes.
    fn copies<const N: usize>(&mut self, offsets: [i32; N]) -> Copies<N> {
        let first = offsets.iter().min().copied().unwrap_or(0) & !7;
        let length = offsets.iter().max().map_or(0, |last| (last - first + 15) & !7);
        if length <= NEARBY {
            let slot = self.reserve(length as usize);
            let members = offsets.map(|offset| slot + (offset - first) as i16);
            return Copies { reads: vec![(first, slot, length)], members };
        }
        let members = offsets.map(|_| self.reserve(8));
        Copies { reads: offsets.into_iter().zip(members).map(|(offset, slot)| (offset, slot, 8)).collect(), members }
    }

    fn copy_members<const N: usize>(&mut self, pointer: i16, copies: &Copies<N>) {
        for (offset, slot, length) in &copies.reads {
            let address = self.kept(pointer);
            self.add_offset(address, *offset);
            self.read(Helper::ProbeReadKernel, Target::Stack(*slot), Operand::Imm(*length), address);
        }
    }

    /// Four bytes of the output, in a register that is no argument's of the next call.
    fn output(&mut self, offset: u16) -> Reg {
        let out = self.input(Input::Out);
        let reg = self.pick(Some(R4));
        self.code.emit(Insn::load(Size::B4, reg, out, offset as i16));
        reg
    }

    fn add_flag(&mut self, offset: u16, flag: u32) {
        let flags = self.output(offset + FLAGS);
        self.alu(Alu::Or, flags, Operand::Imm(flag as i32));
        self.store(Target::Out(offset), FLAGS, Size::B4, Operand::Reg(flags));
        self.free(flags);
    }
}

/// The largest pieces that may be read into `room` bytes, by how much of it is used: a fixed size lets the verifier see
/// that it fits, and halves come near to what is left.
fn pieces(room: u16) -> impl Iterator<Item = u16> {
    let largest = room.min(LONGEST_NAME);
    let halves = [128, 64, 32, 16, 8].into_iter().filter(move |piece| *piece < largest);
    [largest].into_iter().chain(halves)
}
