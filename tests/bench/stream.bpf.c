/* A hand-written comparator: one record for every getpgid() of a process; the reader is woken per MiB, not per record. */
#include "comparator.bpf.h"
#include "record.h"

#define WAKE_AT (1 << 20)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

struct pt_regs {
#if defined(__TARGET_ARCH_x86)
	unsigned long di;
#endif
} __attribute__((preserve_access_index));

struct user_pt_regs {
	unsigned long long regs[31];
} __attribute__((preserve_access_index));

static __always_inline long first_argument(void *regs)
{
#if defined(__TARGET_ARCH_x86)
	return ((struct pt_regs *)regs)->di;
#elif defined(__TARGET_ARCH_arm64)
	return ((struct user_pt_regs *)regs)->regs[0];
#endif
}

SEC("tp_btf/sys_enter") int stream(__u64 *ctx)
{
	__u64 ids = bpf_get_current_pid_tgid();
	__u32 zero = 0;

	if (ctx[1] != GETPGID || (only_pid && ids >> 32 != only_pid))
		return 0;
	struct record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		__u64 *n = bpf_map_lookup_elem(&lost, &zero);
		if (n)
			(*n)++;
		return 0;
	}
	record->pid = ids >> 32;
	record->tid = ids;
	record->argument = first_argument((void *)ctx[0]);
	bpf_get_current_comm(record->comm, sizeof(record->comm));
	int wake = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= WAKE_AT;
	bpf_ringbuf_submit(record, wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
	return 0;
}
