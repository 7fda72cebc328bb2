// killsnoop: signals as they are sent by system calls, with the result. Linux 5.10+ with BTF.
#include "skep.bpf.h"
#include "maps.bpf.h"
#include "syscall.bpf.h"

PARAM(u32, only_signal, 0, "only this signal's number; 0 = all");

struct event {
	FIELD(s32, target, "", "process or thread it goes to; negative: a group, -1 all");
	FIELD(u32, sig, "signal", "the signal");
	FIELD(s32, error, "errno", "why it failed; 0 = it did not");
};

struct sending {
	s32 target;
	u32 sig;
};
LRU_MAP(sendings, u32, struct sending, 4096);

/* kill(pid, sig), tkill(tid, sig), tgkill(pid, tid, sig) */
SEC("tp_btf/sys_enter") int enter(u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[0];
	u32 tid = bpf_get_current_pid_tgid();
	struct sending sending;
	s64 id = ctx[1];

	if (!is_kill(id) || compat())
		return 0;
	sending.target = id == SYS_tgkill ? argument(regs, 1) : argument(regs, 0);
	sending.sig = id == SYS_tgkill ? argument(regs, 2) : argument(regs, 1);
	if (only_signal && sending.sig != only_signal)
		return 0;
	begin_in(&sendings, &tid, &sending);
	return 0;
}

/* (regs, ret) */
SEC("tp_btf/sys_exit") int leave(u64 *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct sending *sending;
	struct event e = {};

	if (!is_kill(number((void *)ctx[0])))
		return 0;
	sending = bpf_map_lookup_elem(&sendings, &tid);
	if (!sending)
		return 0;
	e.target = sending->target;
	e.sig = sending->sig;
	e.error = (s64)ctx[1] < 0 ? -(s64)ctx[1] : 0;
	end_in(&sendings, &tid);
	return consume(ctx, &e);
}
TEMPLATE("signals as they are sent by system calls, with the result");
