// tracepoint: any tracepoint, its arguments read from the record that the kernel wrote. Linux 5.10+.
#include "span.bpf.h"

struct event {}; /* none: slots read the context */

PROGRAMS("tracepoint")
TEMPLATE("any tracepoint, its arguments read from the record");
