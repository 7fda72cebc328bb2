// followed: what a followed process starts is followed too, for as long as its number is its own. Linux 5.10+ with BTF.
//
// The runtime loads it beside the templates that ask (FOLLOWED in skep.bpf.h), and puts the first process into the map.
#include "skep.bpf.h"

struct event {}; /* none: nothing is shown of this */

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
