// fentry: a function of the kernel whose types are known, by a trampoline at its entry or return. Linux 5.10+ with BTF.
#include "span.bpf.h"

struct event {}; /* none: slots read the context, u64 args[n] and behind them the return value */

/*
 * Linux before 5.12 runs a trampoline's program inside of itself, without end, where what it calls is what it watches
 * (kprobe:htab_*). There, one run at a time on each processor; it is not preempted. The runtime sets both.
 */
const volatile bool guarded = false;
struct run {
	volatile u64 busy;
	u64 missed;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY); /* whose look-up is no call */
	__uint(max_entries, 1);		  /* of each processor */
	__type(key, u32);
	__type(value, struct run);
} runs SEC(".maps");

static __always_inline struct run *begin(void)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct run *run = bpf_map_lookup_elem(&runs, &cpu);

	if (!run)
		return 0;
	if (run->busy) {
		run->missed++;
		return 0;
	}
	run->busy = 1;
	return run;
}

#define ALONE(does)                                                                                                    \
	({                                                                                                             \
		struct run *run = 0;                                                                                   \
                                                                                                                       \
		if (!guarded || (run = begin())) {                                                                     \
			does;                                                                                          \
			if (guarded)                                                                                   \
				run->busy = 0;                                                                         \
		}                                                                                                      \
		0;                                                                                                     \
	})

/* An event as it is, the start of a span, the end of one. */
#define FUNCTION_PROGRAMS(section, name)                                                                               \
	SEC(section) int name(void *ctx) { return ALONE(consume(ctx, 0)); }                                            \
	SEC(section) int name##_start(void *ctx) { return ALONE(start_span(ctx)); }                                    \
	SEC(section) int name##_end(void *ctx) { return ALONE(end_span(ctx)); }

FUNCTION_PROGRAMS("fentry", enter)
FUNCTION_PROGRAMS("fexit", leave)
TEMPLATE("a function of the kernel whose types are known, by a trampoline at its entry or return");
