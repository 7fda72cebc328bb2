/* Which system call this is, and whether it was asked for. */
#pragma once
#include "types.bpf.h"

#define SYSCALLS 512
const volatile s64 only_syscall = -1;		   /* this one, or -1: those whose bit is set */
const volatile u64 syscall_bits[SYSCALLS / 64] = {}; /* bit n = system call n */

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long orig_ax;
} CORE;
static __always_inline s64 number(struct pt_regs *regs) { return regs->orig_ax; }
static __always_inline bool compat(struct task_struct *task) { return READ(task->thread_info.status) & 2; }
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	s32 syscallno;
} CORE;
static __always_inline s64 number(struct pt_regs *regs) { return regs->syscallno; }
static __always_inline bool compat(struct task_struct *task) { return READ(task->thread_info.flags) & (1 << 22); }
#endif

static __always_inline bool chosen(s64 id)
{
	if (only_syscall >= 0) {
		if (id != only_syscall)
			return false;
	} else {
		if ((u64)id >= SYSCALLS)
			return false;
		if (!(syscall_bits[id / 64] >> (id % 64) & 1))
			return false;
	}
	return !compat(bpf_get_current_task());
}
