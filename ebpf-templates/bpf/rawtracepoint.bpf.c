// rawtracepoint: any tracepoint before its record is made; arguments are the kernel's own, arg0 to arg11. Linux 5.10+.
#include "span.bpf.h"

struct event {}; /* none: slots read the context */

PROGRAMS("raw_tp")
TEMPLATE("any tracepoint before its record is made; arguments arg0 to arg11");
