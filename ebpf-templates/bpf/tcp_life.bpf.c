// tcp_life: TCP connections when they are closed: whose, how long, how much, how well. Linux 5.10+ with BTF.
//
// Only what was established is a life, and only if that was seen.
#include "connection.bpf.h"
#include "owner.bpf.h"

PARAM_AS("pid", u32, process, 0, "only connections of this process id; 0 = all");
PARAM_AS("ns", u64, least, 0, "only connections that lasted at least so long");

struct event {
	FIELDS_OF_ENDS("of this end", "of the other end");
	FIELD(u32, socket_netns, "", "number of the network namespace");
	FIELD(u64, elapsed, "ns", "from established to closed");
	FIELD(u64, connect, "ns", "from the first SYN to established; 0 at the server's end");
	FIELD(u64, tx, "bytes", "sent, each once");
	FIELD(u64, rx, "bytes", "received");
	FIELD(u64, srtt, "ns", "round-trip time as last smoothed");
	FIELD(u64, socket_cgroup, "cgroup", "control group (v2) of who made the socket");
	FIELD(u32, retransmits, "", "segments sent again");
	FIELD(u32, error, "errno", "why it ended; 0 = in good order");
	FIELD(u32, task_pid, "", "process: who connected; at the server's end who closed it, else who listens; 0 = not known");
	FIELD(u32, segments, "", "that this end has sent, with those sent again and mere acknowledgements");
	FIELD_TEXT(task, 16, "name of its thread");
	FIELD_TEXT(role, 8, "of this end: client or server");
};

struct life {
	u64 since; /* the first SYN, then established */
	u64 connect;
	bool server;
	bool established;
	struct owner owner;
};
LRU_MAP(lives, u64, struct life, 65536);
SCRATCH(room, struct event)

static __always_inline void begins(u64 sk, bool server)
{
	struct life life = { .since = bpf_ktime_get_ns(), .server = server };

	if (!server)
		current_owner(&life.owner);
	begin_in(&lives, &sk, &life);
}

static __always_inline void established(u64 sk, struct life *life)
{
	u64 now = bpf_ktime_get_ns();

	if (life->server)
		owner_by_port((void *)sk, &life->owner);
	else
		life->connect = now - life->since;
	life->since = now;
	life->established = true;
}

static __always_inline int ended(void *ctx, u64 key, struct life *life, int from)
{
	struct event *e = room_of_this_cpu();
	struct sock *sk = (void *)key;

	if (!life)
		return from != TCP_CLOSE && from != TCP_LISTEN && from != TCP_SYN_SENT ? unmatched() : 0;
	if (!e || !life->established) {
		end_in(&lives, &key);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->elapsed = bpf_ktime_get_ns() - life->since;
	e->connect = life->connect;
	e->task_pid = life->owner.pid;
	__builtin_memcpy(e->task, life->owner.comm, sizeof(e->task));
	role_name(e->role, life->server);
	end_in(&lives, &key);
	socket_ends(sk, e->saddr, e->daddr, &e->sport, &e->dport);
	e->socket_netns = socket_netns(sk);
	if (!concerns(e->task_pid, process) || e->elapsed < least || !CONCERNS_ENDS(e) ||
	    (netns && e->socket_netns != netns))
		return 0;
	e->tx = bytes_sent(sk);
	e->rx = bytes_received(sk);
	e->srtt = smoothed_rtt(sk);
	e->retransmits = retransmits(sk);
	e->segments = segments_sent(sk);
	e->error = READ(sk->sk_err);
	if (WANT(socket_cgroup))
		e->socket_cgroup = socket_cgroup(sk);
	return consume(ctx, e);
}

/* (sk, oldstate, newstate) */
SEC("tp_btf/inet_sock_set_state") int changed(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	u64 key = ctx[0];
	int from = ctx[1], to = ctx[2];
	struct life *life;

	if (READ(sk->sk_protocol) != IPPROTO_TCP)
		return 0;
	if (to == TCP_LISTEN)
		note_listener(sk);
	else if (to == TCP_SYN_SENT)
		begins(key, false);
	else if (to == TCP_SYN_RECV && from == TCP_LISTEN)
		begins(key, true);
	life = bpf_map_lookup_elem(&lives, &key);
	if (to == TCP_CLOSE)
		return ended(ctx, key, life, from);
	if (!life)
		return 0;
	if (to == TCP_ESTABLISHED)
		established(key, life);
	else if (life->server && ends_its_side(to))
		current_owner(&life->owner);
	return 0;
}
TEMPLATE_ABOUT_OTHERS("TCP connections when they are closed: whose, how long, how much");
