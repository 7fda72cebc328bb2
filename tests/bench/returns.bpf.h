/* What comparators share that look at returning system calls: which call it is, and values by powers of two. */
#pragma once
#include "comparator.bpf.h"

/* Loads through a pointer that the verifier knows; bpf_probe_read_kernel() would cost about 95 ns. */
struct pt_regs {
#if defined(__TARGET_ARCH_x86)
	long orig_ax;
#elif defined(__TARGET_ARCH_arm64)
	int syscallno;
#endif
} __attribute__((preserve_access_index));

static __always_inline long number(const struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->orig_ax;
#elif defined(__TARGET_ARCH_arm64)
	return regs->syscallno;
#endif
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} buckets SEC(".maps");

static __always_inline __u32 log2(__u64 v)
{
	__u32 bits = 0;

	for (int step = 32; step; step /= 2) {
		__u32 shift = (v >> step ? 1 : 0) * step;
		v >>= shift;
		bits += shift;
	}
	return bits;
}

static __always_inline void count(__u64 value)
{
	__u32 bucket = log2(value);
	__u64 *n = bpf_map_lookup_elem(&buckets, &bucket);

	if (n)
		(*n)++;
}
