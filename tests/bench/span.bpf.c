/*
 * A hand-written comparator: how long getpgid() takes, by powers of two. A thread's entry is kept between its calls: a
 * store instead of an insertion and a deletion.
 */
#include "returns.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, __u64);
} started SEC(".maps");

SEC("raw_tp/sys_enter") int enter(__u64 *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 now, *start;

	if (ctx[1] != GETPGID)
		return 0;
	now = bpf_ktime_get_ns();
	start = bpf_map_lookup_elem(&started, &tid);
	if (start)
		*start = now;
	else
		bpf_map_update_elem(&started, &tid, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/sys_exit") int leave(__u64 *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u64 *start;

	if (number((struct pt_regs *)ctx[0]) != GETPGID)
		return 0;
	start = bpf_map_lookup_elem(&started, &tid);
	if (!start || !*start)
		return 0;
	count(bpf_ktime_get_ns() - *start);
	*start = 0;
	return 0;
}
