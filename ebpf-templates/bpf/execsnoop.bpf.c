// execsnoop: programs as they are started, with their arguments. Linux 5.10+ with BTF.
//
// The arguments are read from the new program's memory when the kernel has built it: one program, and no race with the
// caller. A start that fails is not seen.
#include "skep.bpf.h"
#include "maps.bpf.h"

#define ARGUMENTS 480

struct event {
	FIELD(u32, ppid, "", "process id of the parent");
	FIELD(u32, old_tid, "", "thread that called exec");
	FIELD_TEXT(argv, ARGUMENTS, "arguments, joined by blanks; cut after 479 bytes");
};
SCRATCH(room, struct event)

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
} CORE;

struct task_struct___mm {
	struct mm_struct *mm;
} CORE;

/* NULs between the arguments become blanks. */
static __always_inline void read_arguments(struct event *e, struct task_struct *task)
{
	struct mm_struct *mm = ((struct task_struct___mm *)task)->mm;
	u64 start = mm->arg_start, length = mm->arg_end - start;
	u32 i;

	if (length > ARGUMENTS - 1)
		length = ARGUMENTS - 1;
	if (!length || bpf_probe_read_user(e->argv, length & 511, (void *)start))
		return;
	/* The last byte read is the last argument's NUL. */
	for (i = 0; i < ARGUMENTS - 1; i++) {
		if (i + 1 >= length)
			break;
		if (!e->argv[i])
			e->argv[i] = ' ';
	}
}

/* (task, old_pid, bprm) */
SEC("tp_btf/sched_process_exec") int executed(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct event *e = room_of_this_cpu();

	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->ppid = task->real_parent->tgid;
	e->old_tid = ctx[1];
	if (WANT(argv))
		read_arguments(e, task);
	return consume(ctx, e);
}
TEMPLATE("programs as they are started, with their arguments");
