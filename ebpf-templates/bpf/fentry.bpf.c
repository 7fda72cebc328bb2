// fentry: a function of the kernel whose types are known, by a trampoline at its entry or return. Linux 5.10+ with BTF.
#include "span.bpf.h"

struct event {}; /* none: slots read the context, u64 args[n] and behind them the return value */

/* An event as it is, the start of a span, the end of one. */
#define FUNCTION_PROGRAMS(section, name)                                                                               \
	SEC(section) int name(void *ctx) { return consume(ctx, 0); }                                                   \
	SEC(section) int name##_start(void *ctx) { return start_span(ctx); }                                           \
	SEC(section) int name##_end(void *ctx) { return end_span(ctx); }

FUNCTION_PROGRAMS("fentry", enter)
FUNCTION_PROGRAMS("fexit", leave)
TEMPLATE("a function of the kernel whose types are known, by a trampoline at its entry or return");
