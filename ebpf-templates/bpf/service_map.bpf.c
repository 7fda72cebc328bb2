// service_map: who uses whom: what each TCP connection has moved since the last event about it. Linux 5.10+ with BTF.
//
// An event comes at most every so often while data is received, and when the connection is closed; what moved since the
// last one is not in it when a run ends. Sums over the events of an edge are its totals.
#include "connection.bpf.h"
#include "owner.bpf.h"

PARAM_AS("pid", u32, process, 0, "only connections of this process id; 0 = all");
PARAM_AS("cgroup", u64, group, 0, "only sockets made in this control group (v2), by path; not those below it; empty = all");
PARAM_AS("ns", u64, every, 1000000000, "at most one event a connection so often; 0 = only when it is closed");

struct event {
	FIELD(address_t, client, "ip", "address of the end that connected");
	FIELD(address_t, server, "ip", "address of the end that was connected to");
	FIELD(u16, server_port, "", "port of that end");
	u16 _pad;
	FIELD(u32, socket_netns, "", "number of the network namespace");
	FIELD(u64, to_server, "bytes", "sent to the server, each once");
	FIELD(u64, to_client, "bytes", "sent to the client");
	FIELD(u64, srtt, "ns", "round-trip time as last smoothed");
	FIELD(u64, connect, "ns", "from the first SYN to established, once; 0 at the server's end");
	FIELD(u64, socket_cgroup, "cgroup", "control group (v2) of who made the socket");
	FIELD(u32, opened, "", "1 in the first event of a connection that was seen to begin, else 0");
	FIELD(u32, retransmits, "", "segments sent again");
	FIELD(u32, segments, "", "that this end has sent, with those sent again and mere acknowledgements");
	FIELD(u32, task_pid, "", "process at this end; 0 = not known");
	FIELD_TEXT(task, 16, "name of its thread");
	FIELD_TEXT(role, 8, "of this end: client or server; of a connection that was there before, by its ports");
};

struct edge {
	u64 since; /* the first SYN */
	u64 last;  /* event */
	u64 tx, rx;
	u64 connect;
	u32 retransmits, segments;
	bool server;
	bool opened;
	struct owner owner;
};
LRU_MAP(edges, u64, struct edge, 65536);
SCRATCH(room, struct event)

static __always_inline int report(void *ctx, struct sock *sk, struct edge *edge)
{
	struct event *e = room_of_this_cpu();
	u64 tx = bytes_sent(sk), rx = bytes_received(sk);
	u32 again = retransmits(sk), all = segments_sent(sk);
	address_t here = {}, there = {};
	u16 sport = 0, dport = 0;

	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	if (!socket_ends(sk, here, there, &sport, &dport))
		return 0;
	__builtin_memcpy(e->client, edge->server ? there : here, 16);
	__builtin_memcpy(e->server, edge->server ? here : there, 16);
	e->server_port = edge->server ? sport : dport;
	e->to_server = edge->server ? rx - edge->rx : tx - edge->tx;
	e->to_client = edge->server ? tx - edge->tx : rx - edge->rx;
	e->retransmits = again - edge->retransmits;
	e->segments = all - edge->segments;
	e->opened = edge->opened;
	e->connect = edge->connect;
	e->task_pid = edge->owner.pid;
	__builtin_memcpy(e->task, edge->owner.comm, sizeof(e->task));
	role_name(e->role, edge->server);
	edge->last = bpf_ktime_get_ns();
	edge->tx = tx;
	edge->rx = rx;
	edge->retransmits = again;
	edge->segments = all;
	edge->opened = false;
	edge->connect = 0;
	e->socket_netns = socket_netns(sk);
	if (!concerns(e->task_pid, process) || (netns && e->socket_netns != netns) ||
	    (port && sport != port && dport != port) ||
	    !(is_any_prefix() || in_prefix(e->client) || in_prefix(e->server)))
		return 0;
	e->socket_cgroup = socket_cgroup(sk);
	if (group && e->socket_cgroup != group)
		return 0;
	e->srtt = smoothed_rtt(sk);
	return consume(ctx, e);
}

/* (sk, skb): a segment came to an established connection. */
SEC("tp_btf/tcp_probe") int received(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	u64 key = ctx[0], now = bpf_ktime_get_ns();
	struct edge *edge = bpf_map_lookup_elem(&edges, &key), fresh = {};

	if (edge)
		return every && now - edge->last >= every ? report(ctx, sk, edge) : 0;
	/* It was there before us: what it has moved so far is none of ours. */
	fresh.last = now;
	fresh.tx = bytes_sent(sk);
	fresh.rx = bytes_received(sk);
	fresh.retransmits = retransmits(sk);
	fresh.segments = segments_sent(sk);
	fresh.server = local_port(sk) < from_network(READ(sk->__sk_common.skc_dport));
	if (fresh.server)
		owner_by_port(sk, &fresh.owner);
	begin_in(&edges, &key, &fresh);
	return 0;
}

/* (sk, oldstate, newstate) */
SEC("tp_btf/inet_sock_set_state") int changed(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	u64 key = ctx[0];
	int from = ctx[1], to = ctx[2];
	struct edge *edge, fresh = {};

	if (READ(sk->sk_protocol) != IPPROTO_TCP)
		return 0;
	if (to == TCP_LISTEN)
		note_listener(sk);
	if (to == TCP_SYN_SENT || (to == TCP_SYN_RECV && from == TCP_LISTEN)) {
		fresh.since = bpf_ktime_get_ns();
		fresh.server = to == TCP_SYN_RECV;
		if (!fresh.server)
			current_owner(&fresh.owner);
		begin_in(&edges, &key, &fresh);
		return 0;
	}
	edge = bpf_map_lookup_elem(&edges, &key);
	if (!edge)
		return 0;
	if (to == TCP_ESTABLISHED) {
		edge->last = bpf_ktime_get_ns();
		edge->opened = true;
		if (edge->server)
			owner_by_port(sk, &edge->owner);
		else
			edge->connect = edge->last - edge->since;
	} else if (ends_its_side(to)) {
		if (!edge->owner.pid)
			current_owner(&edge->owner);
	} else if (to == TCP_CLOSE) {
		if (edge->last)
			report(ctx, sk, edge);
		end_in(&edges, &key);
	}
	return 0;
}
TEMPLATE_ABOUT_OTHERS("who uses whom over TCP: bytes, connections, retransmits and latency of each edge");
