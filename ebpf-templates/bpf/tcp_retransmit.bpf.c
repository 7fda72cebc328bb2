// tcp_retransmit: TCP segments that are sent again, and what made the kernel do so. Linux 5.10+ with BTF.
#include "connection.bpf.h"
#include "buffer.bpf.h"

struct event {
	FIELDS_OF_ENDS("of this end", "of the other end");
	FIELD(u32, socket_netns, "", "number of the network namespace");
	FIELD(u32, seq, "", "sequence number of the first byte");
	FIELD(u32, size, "bytes", "of the stream; SYN and FIN count as one each");
	FIELD(u32, segments, "", "packets that it makes on the wire");
	FIELD(u32, state, "tcp_state", "of the connection");
	FIELD(u64, srtt, "ns", "round-trip time as last smoothed; 0 = not measured yet");
	FIELD_TEXT(kind, 8, "syn, synack, timeout, fast (after acknowledgements that skip it), probe (of the tail), other");
};

/* What the kernel keeps in sk_buff's cb: include/net/tcp.h. */
struct tcp_skb_cb {
	u32 seq;
	u32 end_seq;
	u16 tcp_gso_segs;
} CORE;

struct inet_connection_sock {
	u8 icsk_ca_state : 5;
	u8 icsk_pending;
} CORE;

/* Six bits until Linux 5.9, five from then on; it is the lowest part of its byte on every kernel. */
static __always_inline u8 congestion_state(struct inet_connection_sock *sk)
{
	u8 byte = 0;

	bpf_probe_read_kernel(&byte, 1, (char *)sk + __builtin_preserve_field_info(sk->icsk_ca_state, 0));
	return byte & 31;
}

enum { CA_RECOVERY = 3, CA_LOSS = 4, TAIL_LOSS_PROBE = 5 };
#define NAME(a, b, c, d, e, f, g)                                                                                      \
	((u64)a | (u64)b << 8 | (u64)c << 16 | (u64)d << 24 | (u64)e << 32 | (u64)f << 40 | (u64)g << 48)

static __always_inline u64 kind_of(struct sock *sk, u32 state)
{
	struct inet_connection_sock *csk = (void *)sk;

	if (state == TCP_SYN_SENT)
		return NAME('s', 'y', 'n', 0, 0, 0, 0);
	switch (congestion_state(csk)) {
	case CA_LOSS: return NAME('t', 'i', 'm', 'e', 'o', 'u', 't');
	case CA_RECOVERY: return NAME('f', 'a', 's', 't', 0, 0, 0);
	}
	/* The timer is set back before any other of its kinds is dealt with. */
	return READ(csk->icsk_pending) == TAIL_LOSS_PROBE ? NAME('p', 'r', 'o', 'b', 'e', 0, 0)
							  : NAME('o', 't', 'h', 'e', 'r', 0, 0);
}

static __always_inline bool fill(struct event *e, struct sock *sk)
{
	socket_ends(sk, e->saddr, e->daddr, &e->sport, &e->dport);
	e->socket_netns = socket_netns(sk);
	return CONCERNS_ENDS(e) && (!netns || e->socket_netns == netns);
}

/* (sk, skb, error from 6.18 on) */
SEC("tp_btf/tcp_retransmit_skb") int again(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct sk_buff *skb = (void *)ctx[1];
	struct tcp_skb_cb *cb = (void *)PLACE(skb->cb);
	struct event e = {};
	u64 kind;

	if (!fill(&e, sk))
		return 0;
	e.seq = READ(cb->seq);
	e.size = READ(cb->end_seq) - e.seq;
	e.segments = READ(cb->tcp_gso_segs);
	e.state = READ(sk->__sk_common.skc_state);
	e.srtt = smoothed_rtt(sk);
	kind = kind_of(sk, e.state);
	__builtin_memcpy(e.kind, &kind, 8);
	return consume(ctx, &e);
}

/* (sk, req): the listener's socket, and the small one of the connection to be. */
SEC("tp_btf/tcp_retransmit_synack") int synack_again(u64 *ctx)
{
	u64 kind = NAME('s', 'y', 'n', 'a', 'c', 'k', 0);
	struct sock *request = (void *)ctx[1];
	struct event e = {};

	if (!fill(&e, request))
		return 0;
	e.size = e.segments = 1;
	e.state = TCP_NEW_SYN_RECV;
	__builtin_memcpy(e.kind, &kind, 8);
	return consume(ctx, &e);
}
TEMPLATE_ABOUT_OTHERS("TCP segments that are sent again, and why");
