// uprobe: a function of a program or library, on entry or on return. Linux 5.10+.
#include "skep.bpf.h"

struct event {}; /* none: slots read the context */

SEC("uprobe") int hit(void *ctx) { return consume(ctx, 0); }
TEMPLATE("a function of a program or library, on entry or on return");
