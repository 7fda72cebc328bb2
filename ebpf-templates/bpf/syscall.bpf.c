// syscall: chosen system calls on entry or on return, from the one raw tracepoint that all of them pass. Linux 5.10+
// with BTF.
//
// The kernel's own tracepoint of a single system call goes the same way and then writes a record: about 100 ns more an
// event. Programs of 32-bit processes number their calls differently and are left out, as the kernel's tracepoints do.
#include "skep.bpf.h"
#include "syscall.bpf.h"

struct event {}; /* none: slots read the context */

SEC("raw_tp/sys_enter") int enter(u64 *ctx) { return chosen(ctx[1]) ? consume(ctx, 0) : 0; }
/* The twin whose pt_regs the verifier knows: arguments are plain loads. */
SEC("tp_btf/sys_enter") int enter_arguments(u64 *ctx) { return chosen(ctx[1]) ? consume(ctx, 0) : 0; }
SEC("tp_btf/sys_exit") int leave(u64 *ctx) { return chosen(number((void *)ctx[0])) ? consume(ctx, 0) : 0; }
TEMPLATE("chosen system calls, on entry or on return");
