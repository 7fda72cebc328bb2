/* Which system call this is, and whether it was asked for. */
#pragma once
#include "helpers.bpf.h"

#define SYSCALLS 512
const volatile s64 only_syscall = -1;		   /* this one, or -1: those whose bit is set */
const volatile u64 syscall_bits[SYSCALLS / 64] = {}; /* bit n = system call n */

#if defined(__TARGET_ARCH_x86)
enum { SYS_open = 2, SYS_openat = 257, SYS_openat2 = 437, SYS_kill = 62, SYS_tkill = 200, SYS_tgkill = 234 };

struct pt_regs {
	unsigned long di, si, dx, orig_ax;
} CORE;
/* The first three arguments of a system call. */
static __always_inline u64 argument(struct pt_regs *regs, int n) { return n == 0 ? regs->di : n == 1 ? regs->si : regs->dx; }
static __always_inline s64 number(struct pt_regs *regs) { return regs->orig_ax; }
#define COMPAT(read, task) (read((task)->thread_info.status) & 2)
#elif defined(__TARGET_ARCH_arm64)
enum { SYS_open = -2, SYS_openat = 56, SYS_openat2 = 437, SYS_kill = 129, SYS_tkill = 130, SYS_tgkill = 131 };

struct pt_regs {
	u64 regs[31];
	u64 orig_x0; /* regs[0] is overwritten by the result */
	s32 syscallno;
} CORE;
static __always_inline u64 argument(struct pt_regs *regs, int n) { return n == 0 ? regs->orig_x0 : n == 1 ? regs->regs[1] : regs->regs[2]; }
static __always_inline s64 number(struct pt_regs *regs) { return regs->syscallno; }
#define COMPAT(read, task) (read((task)->thread_info.flags) & (1 << 22))
#endif

/* Does this task make 32-bit system calls? From 5.11 on its own members are plain loads. */
static __always_inline bool compat(void)
{
	if (HELPER_EXISTS(BPF_FUNC_get_current_task_btf))
		return COMPAT(, bpf_get_current_task_btf());
	return COMPAT(READ, bpf_get_current_task());
}

static __always_inline bool is_open(s64 id) { return id == SYS_open || id == SYS_openat || id == SYS_openat2; }
static __always_inline bool is_kill(s64 id) { return id == SYS_kill || id == SYS_tkill || id == SYS_tgkill; }

/* By its number alone: a 32-bit call may have the same. */
static __always_inline bool chosen(s64 id)
{
	if (only_syscall >= 0)
		return id == only_syscall;
	return (u64)id < SYSCALLS && syscall_bits[id / 64] >> (id % 64) & 1;
}
