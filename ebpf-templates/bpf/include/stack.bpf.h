/* Call chains that a template takes itself: the same numbers as slots take, see runtime/src/slot/stack.rs. */
#pragma once
#include "helpers.bpf.h"

#define STACK_MAP(name)                                                                                                \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_STACK_TRACE);                                                                \
		__uint(max_entries, 1);                                                                                \
		__uint(key_size, 4);                                                                                   \
		__uint(value_size, 127 * 8);                                                                           \
	} name SEC(".maps")

STACK_MAP(stacks);
STACK_MAP(more_stacks); /* for those whose place in the first is taken */

enum { KERNEL_STACK = 0, USER_STACK = 1 << 8 };
#define PLACE_IS_TAKEN (-17)
#define NO_STACK (-14)
#define NO_USER_STACK (-1)
#define IN_SECOND (1U << 30)

static __always_inline u32 stack_number(void *ctx, u64 flags)
{
	long found = bpf_get_stackid(ctx, &stacks, flags);
	struct trust *t;

	if (found == PLACE_IS_TAKEN) {
		found = bpf_get_stackid(ctx, &more_stacks, flags);
		if (found >= 0)
			found |= IN_SECOND;
	}
	if (found < 0 && found != NO_STACK && found != NO_USER_STACK) {
		t = trusted();
		if (t)
			t->lost_stacks++;
	}
	return found;
}

static __always_inline u64 kernel_stack(void *ctx) { return stack_number(ctx, KERNEL_STACK); }

/* With the process whose addresses they are. */
static __always_inline u64 user_stack(void *ctx)
{
	return bpf_get_current_pid_tgid() >> 32 << 32 | stack_number(ctx, USER_STACK);
}
