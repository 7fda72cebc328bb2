// runqlat: time a task waits for a CPU, from becoming runnable to running. Linux 5.10+ with BTF.
#include "skep.bpf.h"
#include "maps.bpf.h"

PARAM_AS("pid", u32, process, 0, "only tasks of this process id; 0 = all");

struct event {
	FIELD(u64, elapsed, "ns", "from runnable to running");
	FIELD(u32, task_pid, "", "process that got the CPU");
	FIELD(u32, task_tid, "", "thread that got the CPU");
	FIELD_TEXT(task, 16, "name of the thread that got the CPU");
};
LRU_MAP(runnable_since, u32, u64, 65536);

static __always_inline int runnable(struct task_struct *task)
{
	u32 tid = task->pid;
	u64 now;

	if (!tid || !concerns(task->tgid, process)) /* thread 0 is the idle task */
		return 0;
	now = bpf_ktime_get_ns();
	begin_in(&runnable_since, &tid, &now);
	return 0;
}

static __always_inline u32 state(struct task_struct *task)
{
	struct task_struct___state *old = (void *)task;

	return FIELD_EXISTS(task->__state) ? task->__state : (u32)old->state;
}

static __always_inline int running(void *ctx, struct task_struct *task)
{
	u32 tid = task->pid;
	u64 *since = bpf_map_lookup_elem(&runnable_since, &tid);
	struct event e = {};

	if (!since) /* the idle task, another process, or runnable before we attached */
		return 0;
	e.elapsed = bpf_ktime_get_ns() - *since;
	end_in(&runnable_since, &tid);
	e.task_pid = task->tgid;
	e.task_tid = tid;
	if (WANT(task))
		bpf_probe_read_kernel_str(e.task, sizeof(e.task), task->comm);
	return consume(ctx, &e);
}

SEC("tp_btf/sched_wakeup") int woken(u64 *ctx) { return runnable((void *)ctx[0]); }
SEC("tp_btf/sched_wakeup_new") int woken_new(u64 *ctx) { return runnable((void *)ctx[0]); }
/*
 * (preempt, prev, next, …): a task that loses the CPU while it could go on is runnable from now on. One that is preempted
 * is so in any state: it was about to sleep and has not yet.
 */
SEC("tp_btf/sched_switch") int switched(u64 *ctx)
{
	struct task_struct *prev = (void *)ctx[1];

	if ((ctx[0] & 1) || !state(prev)) /* a bool */
		runnable(prev);
	return running(ctx, (void *)ctx[2]);
}
TEMPLATE_ABOUT_OTHERS("how long tasks wait for a CPU");
