// followed: what a followed process starts is followed too, for as long as its number is its own. Linux 5.10+ with BTF.
//
// The runtime loads it beside the templates that ask (FOLLOWED in skep.bpf.h), and puts the first process into the map or
// has it found.
#include "skep.bpf.h"

struct event {}; /* none: nothing is shown of this */

/* The first process where its number is that of another pid namespace than the first one; the runtime sets both. */
const volatile s32 first = 0;
const volatile u32 first_namespace = 0;
#define MAX_PID_NS_LEVEL 32

struct ns_common {
	unsigned int inum;
} CORE;

struct pid_namespace {
	struct ns_common ns;
} CORE;

struct upid {
	int nr;
	struct pid_namespace *ns;
} CORE;

struct pid {
	unsigned int level;
	struct upid numbers[1];
} CORE;

struct task_struct___pid {
	struct pid *thread_pid;
} CORE;

/* The number that a thread has in the namespace; 0: none. Each namespace from the first to its own has one. */
static __always_inline int number_there(struct task_struct *task)
{
	struct pid *pid = ((struct task_struct___pid *)task)->thread_pid;
	struct upid *at = __builtin_preserve_access_index(&pid->numbers[0]);
	u32 level, last = READ(pid->level);
	struct upid one;

	for (level = 0; level <= MAX_PID_NS_LEVEL; level++) {
		if (level > last || bpf_probe_read_kernel(&one, sizeof(one), at + level))
			break;
		if (READ(one.ns->ns.inum) == first_namespace)
			return one.nr;
	}
	return 0;
}

/* (meta, task), once for every thread. */
SEC("iter") int find(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[1];
	int pid;
	u8 yes = 1;

	if (!task || number_there(task) != first)
		return 0;
	pid = task->tgid;
	bpf_map_update_elem(&followed, &pid, &yes, BPF_ANY);
	return 0;
}

/* (parent, child): the child does not run yet. Threads belong to their process, which is in the map or is not. */
SEC("tp_btf/sched_process_fork") int forked(u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	int pid = child->tgid;
	struct trust *t;
	u8 yes = 1;

	if (child->pid != pid || !is_followed(parent->tgid))
		return 0;
	if (bpf_map_update_elem(&followed, &pid, &yes, BPF_ANY)) {
		t = trusted();
		if (t)
			t->lost_map++;
	}
	return 0;
}

/*
 * (task): not at its exit, behind which it still closes its files and may be traced, but when nothing is left of it. A
 * thread other than the first has a number of its own.
 */
SEC("tp_btf/sched_process_free") int freed(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	int pid = task->tgid;

	if (task->pid == pid)
		bpf_map_delete_elem(&followed, &pid);
	return 0;
}
TEMPLATE("processes that a followed process starts are followed too");
