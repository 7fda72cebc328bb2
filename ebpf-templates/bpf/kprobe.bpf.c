// kprobe: a function of the kernel, on entry or on return, or an instruction in it. Linux 5.10+.
#include "skep.bpf.h"

struct event {}; /* none: slots read the context */

SEC("kprobe") int hit(void *ctx) { return consume(ctx, 0); }
TEMPLATE("a function of the kernel, on entry or on return, or an instruction in it");
