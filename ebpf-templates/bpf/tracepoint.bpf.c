// tracepoint: any tracepoint, its arguments read from the record that the kernel wrote. Linux 5.10+.
#include "skep.bpf.h"

struct event {}; /* none: slots read the context */

SEC("tracepoint") int hit(void *ctx) { return consume(ctx, 0); }
TEMPLATE("any tracepoint, its arguments read from the record");
