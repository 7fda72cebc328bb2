// tcp_reset: TCP connections that are reset, by this end or the other. Linux 5.10+ with BTF.
//
// Resets that answer a segment to a port where nobody listens are seen from Linux 6.10 on; the reason of those that are
// sent from 6.10 on.
#include "connection.bpf.h"
#include "buffer.bpf.h"

struct event {
	FIELDS_OF_ENDS("of this end", "of the other end");
	FIELD(u32, reset_netns, "", "number of the network namespace");
	FIELD(u32, state, "tcp_state", "of the connection by then, CLOSE where a program gave it up; 0 = there is none");
	FIELD(u32, reason, "enum:sk_rst_reason", "why this end sends it; 0 where the kernel does not say");
	FIELD_TEXT(kind, 16, "sent or received");
};

static __always_inline int reset(u64 *ctx, struct event *e)
{
	if (!CONCERNS_ENDS(e) || (netns && e->reset_netns != netns))
		return 0;
	return consume(ctx, e);
}

static __always_inline void from_socket(struct event *e, struct sock *sk)
{
	socket_ends(sk, e->saddr, e->daddr, &e->sport, &e->dport);
	e->reset_netns = socket_netns(sk);
	e->state = READ(sk->__sk_common.skc_state);
}

/* (sk or none, the segment that is answered or none, reason). Raw: a pointer that may be none is told apart as a number. */
static __always_inline int sends(u64 *ctx, u32 reason)
{
	struct sock *sk = (void *)ctx[0];
	struct sk_buff *skb = (void *)ctx[1];
	struct event e = { .kind = "sent", .reason = reason };
	u8 protocol;

	if (sk) {
		from_socket(&e, sk);
	} else {
		/* It goes back where the segment came from. */
		packet_ends(skb, e.daddr, e.saddr, &e.dport, &e.sport, &protocol);
		e.reset_netns = packet_netns(skb);
	}
	return reset(ctx, &e);
}

SEC("raw_tp/tcp_send_reset") TAG("arguments:", "2") int sends_5_10(u64 *ctx) { return sends(ctx, 0); }
SEC("raw_tp/tcp_send_reset") TAG("arguments:", "3") int sends_6_10(u64 *ctx) { return sends(ctx, ctx[2]); }

/* (sk) */
SEC("raw_tp/tcp_receive_reset") int receives(u64 *ctx)
{
	struct event e = { .kind = "received" };

	from_socket(&e, (void *)ctx[0]);
	return reset(ctx, &e);
}
TEMPLATE_ABOUT_OTHERS("TCP connections that are reset, by this end or the other");
