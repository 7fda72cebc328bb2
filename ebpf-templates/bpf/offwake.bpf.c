// offwake: how long a thread waits, with the call chain that waits and the one that ended the wait. Linux 5.10+ with BTF.
#include "skep.bpf.h"
#include "maps.bpf.h"
#include "stack.bpf.h"

PARAM_AS("pid", u32, process, 0, "only waits of this process id; 0 = all");
PARAM_AS("ns", u64, least, 0, "only waits of at least so long");

struct event {
	FIELD(u64, elapsed, "ns", "from leaving the CPU to being back on one");
	FIELD(u64, wait_kstack, "kstack", "where it waits, in the kernel");
	FIELD(u64, wait_ustack, "ustack", "where it waits, in the process");
	FIELD(u64, waker_kstack, "kstack", "who ended the wait, in the kernel");
	FIELD(u64, waker_ustack, "ustack", "who ended the wait, in its process");
	FIELD(u32, task_pid, "", "process that waits");
	FIELD(u32, task_tid, "", "thread that waits");
	FIELD_TEXT(task, 16, "name of the thread that waits");
	FIELD_TEXT(waker, 16, "name of the thread that ended the wait; empty where it was only preempted");
};

struct wait {
	u64 since;
	struct event event;
};
LRU_MAP(waits, u32, struct wait, 65536);
SCRATCH(fresh, struct wait);

static __always_inline void leaves(void *ctx, struct task_struct *task)
{
	struct wait *wait = fresh_of_this_cpu();
	u32 tid = task->pid;

	if (!tid || !wait || !concerns(task->tgid, process)) /* thread 0 is the idle task */
		return;
	__builtin_memset(wait, 0, sizeof(*wait));
	wait->since = bpf_ktime_get_ns();
	wait->event.wait_kstack = kernel_stack(ctx);
	wait->event.wait_ustack = user_stack(ctx);
	wait->event.waker_kstack = (u32)NO_STACK;
	wait->event.waker_ustack = (u32)NO_STACK;
	wait->event.task_pid = task->tgid;
	wait->event.task_tid = tid;
	bpf_probe_read_kernel_str(wait->event.task, sizeof(wait->event.task), task->comm);
	begin_in(&waits, &tid, wait);
}

static __always_inline int is_back(void *ctx, struct task_struct *task)
{
	u32 tid = task->pid;
	struct wait *wait = bpf_map_lookup_elem(&waits, &tid), *copy = fresh_of_this_cpu();

	if (!wait || !copy) /* the idle task, another process, or away before we attached */
		return 0;
	*copy = *wait;
	end_in(&waits, &tid);
	copy->event.elapsed = bpf_ktime_get_ns() - copy->since;
	if (copy->event.elapsed < least)
		return 0;
	return consume(ctx, &copy->event);
}

SEC("tp_btf/sched_wakeup") int woken(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	u32 tid = task->pid;
	struct wait *wait = bpf_map_lookup_elem(&waits, &tid);

	if (!wait)
		return 0;
	wait->event.waker_kstack = kernel_stack(ctx);
	wait->event.waker_ustack = user_stack(ctx);
	bpf_get_current_comm(wait->event.waker, sizeof(wait->event.waker));
	return 0;
}

/* (preempt, prev, next, …); the thread that leaves is still the current one. */
SEC("tp_btf/sched_switch") int switched(u64 *ctx)
{
	leaves(ctx, (void *)ctx[1]);
	return is_back(ctx, (void *)ctx[2]);
}
TEMPLATE_ABOUT_OTHERS("how long threads wait, where, and who ends it");
