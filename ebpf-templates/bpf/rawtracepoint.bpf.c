// rawtracepoint: any tracepoint before its record is made; arguments are the kernel's own, arg0 to arg11. Linux 5.10+.
#include "skep.bpf.h"

struct event {}; /* none: slots read the context */

SEC("raw_tp") int hit(void *ctx) { return consume(ctx, 0); }
TEMPLATE("any tracepoint before its record is made; arguments arg0 to arg11");
