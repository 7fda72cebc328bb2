// syscall: chosen system calls on entry or on return, from the one raw tracepoint that all of them pass. Linux 5.10+
// with BTF.
//
// The kernel's own tracepoint of a single system call goes the same way and then writes a record: about 100 ns more an
// event. Programs of 32-bit processes number their calls differently and are left out, as the kernel's tracepoints do.
#include "syscall.bpf.h"
#define NO_EVENT compat()
#include "span.bpf.h"

struct event {}; /* none: slots read the context */

/* An event as it is, the start of a span, the end of one. */
#define SYSCALL_PROGRAMS(section, name, id)                                                                            \
	SEC(section) int name(u64 *ctx) { return chosen(id) ? consume(ctx, 0) : 0; }                                   \
	SEC(section) int name##_start(u64 *ctx) { return chosen(id) ? start_span(ctx) : 0; }                           \
	SEC(section) int name##_end(u64 *ctx) { return chosen(id) ? end_span(ctx) : 0; }

SYSCALL_PROGRAMS("raw_tp/sys_enter", enter, ctx[1])
/* The twins whose pt_regs the verifier knows: arguments are plain loads. */
SYSCALL_PROGRAMS("tp_btf/sys_enter", enter_arguments, ctx[1])
SYSCALL_PROGRAMS("tp_btf/sys_exit", leave, number((void *)ctx[0]))
TEMPLATE("chosen system calls, on entry or on return");
