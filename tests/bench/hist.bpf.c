/* A hand-written comparator: the sizes that read() returned, by powers of two, from the raw tracepoint of all returns. */
#include "returns.bpf.h"

SEC("tp_btf/sys_exit") int read_sizes(__u64 *ctx)
{
	if (number((struct pt_regs *)ctx[0]) != READ)
		return 0;
	if (only_pid && bpf_get_current_pid_tgid() >> 32 != only_pid)
		return 0;
	count(ctx[1]);
	return 0;
}
