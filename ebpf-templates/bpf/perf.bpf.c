// perf: every overflow of a perf event: timed samples, software and hardware counters. Linux 5.10+.
#include "skep.bpf.h"

struct event {}; /* none: slots read the context */

SEC("perf_event") int hit(void *ctx) { return consume(ctx, 0); }
TEMPLATE("overflows of a perf event: timed samples, software and hardware counters");
