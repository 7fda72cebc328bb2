/* The user's registers of the current task: where it was interrupted, or where it entered the kernel. */
#pragma once
#include "helpers.bpf.h"

/* As perf shows them to programs, and as they lie on the kernel's stack: user_pt_regs, of include/uapi/asm/ptrace.h. */
#if defined(__TARGET_ARCH_x86)
struct registers {
	u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#define IS_USERS(regs) (((regs)->cs & 3) == 3)
#elif defined(__TARGET_ARCH_arm64)
struct registers {
	u64 regs[31], sp, pc, pstate;
};
#define IS_USERS(regs) (((regs)->pstate & 15) == 0)
#endif

/* Its size is all we ask for. */
struct pt_regs {
	unsigned long sp;
} CORE;

struct task_struct___entry {
	unsigned int flags;
	void *stack;
} CORE;

/* The kernel's stacks, where Linux 5.14 and older do not say themselves where registers are: 16 KiB with pages of 4. */
#define THREAD_SIZE (16 << 10)
#define PF_KTHREAD 0x200000

static __always_inline const void *entry_registers(struct task_struct___entry *task)
{
	if (HELPER_EXISTS(BPF_FUNC_task_pt_regs))
		return bpf_task_pt_regs(bpf_get_current_task_btf());
	return (const char *)READ(task->stack) + THREAD_SIZE - TYPE_SIZE(struct pt_regs);
}

/* `interrupted`: a sample's own registers, which may be the kernel's. False, and zeros: there is no user's side. */
static __always_inline bool user_registers(const struct registers *interrupted, struct registers *to)
{
	struct task_struct___entry *task = (void *)bpf_get_current_task();

	if (IS_USERS(interrupted)) {
		*to = *interrupted;
		return true;
	}
	if (READ(task->flags) & PF_KTHREAD)
		return false;
	return !bpf_probe_read_kernel(to, sizeof(*to), entry_registers(task)) && IS_USERS(to);
}
