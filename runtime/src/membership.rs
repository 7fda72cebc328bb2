//! Whether the current task is in a control group or below it, as a test for programs.

use crate::diagnostic::Diagnostic;
use crate::machine::Machine;
use crate::slot::ir::{Comparison, Current, Int, Memory, Place, Reading, Size, Test};
use crate::types::{KernelTypes, Type};
use skep_templates::btf::Kind;

/// # Errors
/// A machine diagnostic: this kernel has neither the helper nor the types that replace it.
pub fn test(id: u64, level: u32, machine: &Machine) -> Result<Test, Diagnostic> {
    if machine.has_ancestor_cgroups() {
        return Ok(equal(Int::Current(Current::CgroupAncestor(level)), id));
    }
    by_structures(id, level, &machine.types()).ok_or_else(|| {
        Diagnostic::machine("this kernel cannot tell a task's cgroups apart")
            .help(".filter(cgroup == …) takes the cgroup itself, without those below it")
    })
}

/// Linux 5.10 has the helper for packets only; there, a group keeps the ids of its ancestors in an array.
fn by_structures(id: u64, level: u32, types: &KernelTypes) -> Option<Test> {
    let task = types.find(Kind::Struct, "task_struct")?;
    let (groups, css_set) = follow(Int::Current(Current::Task), &task, "cgroups")?;
    let (group, cgroup) = follow(groups, &css_set, "dfl_cgrp")?;
    let own_level = load(group.clone(), offset(&cgroup, "level")?, Size::B4);
    let ancestor = load(group, offset(&cgroup, "ancestor_ids")? + 8 * i32::try_from(level).ok()?, Size::B8);
    // The array is as long as the group is deep.
    let deep = Test::Compare {
        op: Comparison::GreaterOrEqual,
        reading: Reading::Unsigned,
        left: own_level,
        right: Int::Constant(level.into()),
    };
    Some(Test::And(vec![deep, equal(ancestor, id)]))
}

/// The value of a member that is a pointer, and what it leads to.
fn follow(pointer: Int, of: &Type, member: &str) -> Option<(Int, Type)> {
    let target = of.member(member)?.of.target();
    Some((load(pointer, offset(of, member)?, Size::B8), target))
}

fn offset(of: &Type, member: &str) -> Option<i32> {
    i32::try_from(of.member(member)?.bit_offset / 8).ok()
}

fn load(pointer: Int, offset: i32, size: Size) -> Int {
    Int::Load {
        place: Place::Behind { pointer: Box::new(pointer), offset, memory: Memory::Kernel },
        size,
        signed: false,
    }
}

fn equal(left: Int, right: u64) -> Test {
    Test::Compare { op: Comparison::Equal, reading: Reading::Unsigned, left, right: Int::Constant(right) }
}
