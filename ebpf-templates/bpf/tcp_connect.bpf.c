// tcp_connect: outgoing TCP connections: how long they take to be made, or why they are not. Linux 5.10+ with BTF.
#include "connection.bpf.h"
#include "owner.bpf.h"

PARAM_AS("pid", u32, process, 0, "only connections of this process id; 0 = all");

struct event {
	FIELDS_OF_ENDS("of this end", "of the other end");
	FIELD(u32, socket_netns, "", "number of the network namespace");
	FIELD(u64, elapsed, "ns", "from the first SYN to the outcome");
	FIELD(u32, error, "errno", "why it failed, ECANCELED where this end gave up; 0 = it did not");
	FIELD(u32, task_pid, "", "process that connects");
	FIELD_TEXT(task, 16, "name of its thread");
};

struct attempt {
	u64 since;
	struct owner owner;
};
LRU_MAP(attempts, u64, struct attempt, 16384);

#define ECANCELED 125

static __always_inline void begins(u64 sk)
{
	struct attempt attempt = { .since = bpf_ktime_get_ns() };

	current_owner(&attempt.owner);
	begin_in(&attempts, &sk, &attempt);
}

static __always_inline int ended(void *ctx, u64 key, int to)
{
	struct attempt *attempt = bpf_map_lookup_elem(&attempts, &key);
	struct sock *sk = (void *)key;
	struct event e = {};

	if (!attempt)
		return unmatched();
	e.elapsed = bpf_ktime_get_ns() - attempt->since;
	e.task_pid = attempt->owner.pid;
	__builtin_memcpy(e.task, attempt->owner.comm, sizeof(e.task));
	end_in(&attempts, &key);
	socket_ends(sk, e.saddr, e.daddr, &e.sport, &e.dport);
	e.socket_netns = socket_netns(sk);
	if (!concerns(e.task_pid, process) || !CONCERNS_ENDS(&e) || (netns && e.socket_netns != netns))
		return 0;
	if (to == TCP_CLOSE) {
		e.error = READ(sk->sk_err);
		if (!e.error)
			e.error = ECANCELED;
	}
	return consume(ctx, &e);
}

/* (sk, oldstate, newstate) */
SEC("tp_btf/inet_sock_set_state") int changed(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int from = ctx[1], to = ctx[2];

	if (READ(sk->sk_protocol) != IPPROTO_TCP)
		return 0;
	if (to == TCP_SYN_SENT)
		begins(ctx[0]);
	return from == TCP_SYN_SENT ? ended(ctx, ctx[0], to) : 0;
}
TEMPLATE_ABOUT_OTHERS("outgoing TCP connections: how long they take to be made, or why they are not");
