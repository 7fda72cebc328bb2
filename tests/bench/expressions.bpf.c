/*
 * What clang makes of the expressions that xtask/src/bench/compiler.rs gives to skep, in functions of a slot's form: the
 * event's fields (of a returning system call: its number, what it returned), the context, room for columns.
 */
#include "comparator.bpf.h"

struct returned {
	__s64 number;
	__s64 ret;
};

struct by_pid_and_comm {
	__s64 pid;
	char comm[16];
};

#define FILTER(name) __attribute__((noinline, used)) int name(const struct returned *event)

FILTER(one_process)
{
	(void)event;
	return bpf_get_current_pid_tgid() >> 32 == 7;
}

FILTER(range)
{
	return event->ret > 0 && event->ret < 4096;
}

FILTER(name)
{
	char comm[16];

	(void)event;
	bpf_get_current_comm(comm, sizeof(comm));
	return !__builtin_memcmp(comm, "bash", 5);
}

FILTER(several)
{
	return event->ret > 100 && ((__u32)bpf_get_current_uid_gid() == 0 || event->ret % 16 == 3);
}

__attribute__((noinline, used)) __s64 arithmetic(const struct returned *event)
{
	__s64 n = event->ret * 3;

	/* Instructions for signed division came with Linux 6.6. */
	return (n < 0 ? -(__s64)((__u64)-n / 7) : (__s64)((__u64)n / 7)) + 1;
}

__attribute__((noinline, used)) int columns(const struct returned *event, void *context, struct by_pid_and_comm *to)
{
	(void)event, (void)context;
	to->pid = bpf_get_current_pid_tgid() >> 32;
	__builtin_memset(to->comm, 0, sizeof(to->comm));
	bpf_get_current_comm(to->comm, sizeof(to->comm));
	return 0;
}
