// fentry: a function of the kernel whose types are known, by a trampoline at its entry or return. Linux 5.10+ with BTF.
#include "skep.bpf.h"

struct event {}; /* none: slots read the context, u64 args[n] and behind them the return value */

SEC("fentry") int enter(void *ctx) { return consume(ctx, 0); }
SEC("fexit") int leave(void *ctx) { return consume(ctx, 0); }
TEMPLATE("a function of the kernel whose types are known, by a trampoline at its entry or return");
