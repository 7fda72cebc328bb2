// opensnoop: files as they are opened, with the result. Linux 5.10+ with BTF.
#include "skep.bpf.h"
#include "maps.bpf.h"
#include "syscall.bpf.h"

PARAM(bool, failed, false, "only opens that failed");

#define PATH 256

struct event {
	FIELD(s32, fd, "", "file descriptor, or -1");
	FIELD(s32, error, "errno", "why it failed; 0 = it did not");
	FIELD(u32, flags, "", "as open(2) takes them");
	u32 _pad;
	FIELD_TEXT(path, PATH, "as the program gives it, cut after 255 bytes");
};
SCRATCH(room, struct event)

struct opening {
	u64 path;
	u64 flags;
};
LRU_MAP(openings, u32, struct opening, 16384);

struct open_how {
	u64 flags;
};

/* The path's argument: 0 for open(2), 1 for openat(2) and openat2(2). */
SEC("tp_btf/sys_enter") int enter(u64 *ctx)
{
	struct opening opening = {};
	struct pt_regs *regs = (void *)ctx[0];
	u32 tid = bpf_get_current_pid_tgid();
	s64 id = ctx[1];

	if (!is_open(id) || compat())
		return 0;
	opening.path = id == SYS_openat || id == SYS_openat2 ? argument(regs, 1) : argument(regs, 0);
	opening.flags = id == SYS_openat || id == SYS_openat2 ? argument(regs, 2) : argument(regs, 1);
	if (id == SYS_openat2) {
		struct open_how how = {};

		bpf_probe_read_user(&how, sizeof(how), (void *)opening.flags);
		opening.flags = how.flags;
	}
	begin_in(&openings, &tid, &opening);
	return 0;
}

/* (regs, ret) */
SEC("tp_btf/sys_exit") int leave(u64 *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	struct opening *opening;
	struct event *e;
	s64 result = ctx[1];

	if (!is_open(number((void *)ctx[0])))
		return 0;
	opening = bpf_map_lookup_elem(&openings, &tid);
	if (!opening) /* begun before we attached, or evicted; 32-bit programs number their calls differently */
		return compat() ? 0 : unmatched();
	e = room_of_this_cpu();
	if (!e)
		return 0;
	if (failed && result >= 0) {
		end_in(&openings, &tid);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->fd = result < 0 ? -1 : result;
	e->error = result < 0 ? -result : 0;
	e->flags = opening->flags;
	if (WANT(path))
		bpf_probe_read_user_str(e->path, sizeof(e->path), (void *)opening->path);
	end_in(&openings, &tid);
	return consume(ctx, e);
}
TEMPLATE("files as they are opened, with the result");
