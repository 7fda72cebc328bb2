// perf: every overflow of a perf event: timed samples, software and hardware counters. Linux 5.10+.
#include "span.bpf.h"

struct event {}; /* none: slots read the context */

PROGRAMS("perf_event")
TEMPLATE("overflows of a perf event: timed samples, software and hardware counters");
