// kprobe: a function of the kernel, on entry or on return, or an instruction in it. Linux 5.10+.
#include "span.bpf.h"

struct event {}; /* none: slots read the context */

PROGRAMS("kprobe")
TEMPLATE("a function of the kernel, on entry or on return, or an instruction in it");
