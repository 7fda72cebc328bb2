/*
 * Connections, so that replies and the errors about them pass. A connection is kept as its endpoint sees it, so that both
 * directions find the same entry, which says who began.
 */
#pragma once
#include "headers.bpf.h"

struct connection {
	u64 peer[2];
	u64 own[2];
	u16 peer_port;
	u16 own_port;
	u8 protocol;
	u8 is_v6;
	u16 pad;
};

struct state {
	u64 seen;
	u8 outgoing; /* the endpoint began it */
	u8 closing;
	u8 pad[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct connection);
	__type(value, struct state);
} connections SEC(".maps");

/* Nothing is kept longer than Linux's own tracking keeps it: an hour where it says five days. */
#define SECOND 1000000000ULL
#define TCP_KEPT (3600 * SECOND)
#define OTHERS_KEPT (120 * SECOND)
#define CLOSING_KEPT (10 * SECOND)

/* A tick of the clock is exact enough; reading the clock itself takes longer than all else that is done for a packet. */
enum bpf_func_id___coarse { BPF_FUNC_ktime_get_coarse_ns = 160 }; /* Linux 5.11 */
static __always_inline u64 now_ns(void)
{
	const bool has_coarse = __builtin_preserve_enum_value(*(enum bpf_func_id___coarse *)BPF_FUNC_ktime_get_coarse_ns, 0);

	return has_coarse ? bpf_ktime_get_coarse_ns() : bpf_ktime_get_ns();
}

static __always_inline void connection_of(struct connection *key, const struct packet *p)
{
	key->peer[0] = p->peer[0];
	key->peer[1] = p->peer[1];
	key->own[0] = p->own[0];
	key->own[1] = p->own[1];
	key->peer_port = p->peer_port;
	key->own_port = p->own_port;
	key->protocol = p->protocol;
	key->is_v6 = p->is_v6;
	key->pad = 0;
}

static __always_inline bool is_fresh(const struct state *state, const struct packet *p, u64 now)
{
	u64 kept = state->closing ? CLOSING_KEPT : p->protocol == TCP ? TCP_KEPT : OTHERS_KEPT;

	return now - state->seen < kept;
}

/* What can only begin something: no reply, whatever it looks like. */
static __always_inline bool begins(const struct packet *p)
{
	if (p->protocol == TCP)
		return (p->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	if (p->protocol == ICMP)
		return p->port != 0 && p->port != 14;
	return p->protocol == ICMPV6 && p->port != 129;
}

static __always_inline bool is_error(const struct packet *p)
{
	if (!p->has_port)
		return false;
	if (p->protocol == ICMP)
		return p->port == 3 || p->port == 11 || p->port == 12;
	return p->protocol == ICMPV6 && p->port >= 1 && p->port <= 4;
}

/* Does an error concern a connection that is known? It quotes what went the other way. */
static __always_inline bool is_related(const struct packet *error, void *data, void *end, bool leaves)
{
	struct packet quoted = {};
	struct connection key;
	u32 at = error->at + 8;

	if (error->at > FURTHEST)
		return false;
	if (error->is_v6 ? parse_v6(&quoted, data, at, end, !leaves, 0) : parse_v4(&quoted, data, at, end, !leaves))
		return false;
	parse_transport(&quoted, data, end, !leaves);
	connection_of(&key, &quoted);
	return bpf_map_lookup_elem(&connections, &key);
}

/* Not for every packet: other CPUs read the same line. */
static __always_inline void touch(struct state *state, const struct packet *p, u64 now)
{
	if (now - state->seen > SECOND)
		state->seen = now;
	if (p->protocol == TCP && p->flags & (TCP_FIN | TCP_RST) && !state->closing)
		state->closing = 1;
}

static __always_inline bool is_reply(struct state *known, const struct packet *p, u64 now, bool leaves)
{
	if (known->outgoing == leaves || begins(p) || !is_fresh(known, p, now))
		return false;
	touch(known, p, now);
	return true;
}

/* What was judged begins a connection, goes on with it, or ends it: the replies of what is denied are no replies. */
static __always_inline void keep(const struct connection *key, struct state *known, const struct packet *p, bool passes,
				 u64 now, bool leaves)
{
	struct state fresh = { .seen = now, .outgoing = leaves };

	if (!passes) {
		if (known && known->outgoing == leaves)
			bpf_map_delete_elem(&connections, key);
	} else if (known && known->outgoing == leaves && !(known->closing && begins(p))) {
		touch(known, p, now);
	} else if (!(p->protocol == TCP && p->flags & TCP_RST)) {
		bpf_map_update_elem(&connections, key, &fresh, BPF_ANY);
	}
}
