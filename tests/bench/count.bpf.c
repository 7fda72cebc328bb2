/* Hand-written comparators that count: from a raw tracepoint or a uprobe, into a per-CPU hash. */
#include "comparator.bpf.h"

struct name {
	char text[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} pids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct name);
	__type(value, __u64);
} names SEC(".maps");

static __always_inline void count(void *map, const void *key)
{
	__u64 *n = bpf_map_lookup_elem(map, key), one = 1;

	if (n)
		(*n)++;
	else
		bpf_map_update_elem(map, key, &one, BPF_ANY);
}

static __always_inline int count_pid(void)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (!only_pid || pid == only_pid)
		count(&pids, &pid);
	return 0;
}

SEC("raw_tp/sys_enter") int by_pid(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[1] == GETPGID ? count_pid() : 0;
}

SEC("raw_tp/sys_enter") int by_comm(struct bpf_raw_tracepoint_args *ctx)
{
	struct name name;

	if (ctx->args[1] != GETPGID)
		return 0;
	bpf_get_current_comm(&name, sizeof(name));
	count(&names, &name);
	return 0;
}

SEC("raw_tp/sched_switch") int switch_by_pid(void *ctx)
{
	(void)ctx;
	return count_pid();
}

SEC("uprobe") int uprobe_by_pid(void *ctx)
{
	(void)ctx;
	return count_pid();
}
