/* Sockets: who talks to whom, and how much. Read with probes, so that any pointer to one will do. */
#pragma once
#include "helpers.bpf.h"

enum { AF_INET = 2, AF_INET6 = 10, IPPROTO_TCP = 6, IPPROTO_UDP = 17, IPPROTO_SCTP = 132 };

/* include/net/tcp_states.h */
enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

struct in6_addr {
	u8 bytes[16];
} CORE;

struct ns_common {
	unsigned int inum;
} CORE;

struct net {
	struct ns_common ns;
} CORE;

typedef struct {
	struct net *net;
} CORE possible_net_t;

struct sock_common {
	u32 skc_daddr;
	u32 skc_rcv_saddr;
	u16 skc_dport;
	u16 skc_num;
	unsigned short skc_family;
	unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
} CORE;

struct kernfs_node {
	u64 id;
} CORE;

struct cgroup {
	struct kernfs_node *kn;
} CORE;

struct sock_cgroup_data {
	struct cgroup *cgroup;
} CORE;

/* until Linux 5.14 */
struct sock_cgroup_data___word {
	u64 val;
} CORE;

struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
	u16 sk_protocol;
	int sk_err;
} CORE;

struct inet_sock {
	struct sock sk;
	u16 inet_sport;
} CORE;

struct tcp_sock {
	u64 bytes_sent;
	u64 bytes_retrans;
	u64 bytes_received;
	u32 srtt_us;
	u32 total_retrans;
	u32 segs_out;
} CORE;

/* Either family in 16 bytes, IPv4 mapped into IPv6. */
typedef u8 address_t[16];

static __always_inline void map_v4(u8 *to, u32 v4)
{
	u32 *words = (u32 *)to;

	words[0] = words[1] = 0;
	words[2] = 0xffff0000; /* in memory 00 00 ff ff */
	words[3] = v4;
}

static __always_inline u16 from_network(u16 port) { return __builtin_bswap16(port); }

static __always_inline u16 local_port(struct sock *sk)
{
	u16 port = READ(sk->__sk_common.skc_num);

	/* Given back before the connection is said to be closed; a copy stays. */
	return port ? port : from_network(READ(((struct inet_sock *)sk)->inet_sport));
}

/* Addresses and ports; false: it is no IP socket. */
static __always_inline bool socket_ends(struct sock *sk, u8 *saddr, u8 *daddr, u16 *sport, u16 *dport)
{
	u16 family = READ(sk->__sk_common.skc_family);

	if (family == AF_INET) {
		map_v4(saddr, READ(sk->__sk_common.skc_rcv_saddr));
		map_v4(daddr, READ(sk->__sk_common.skc_daddr));
	} else if (family == AF_INET6 && FIELD_EXISTS(sk->__sk_common.skc_v6_daddr)) {
		bpf_probe_read_kernel(saddr, 16, PLACE(sk->__sk_common.skc_v6_rcv_saddr));
		bpf_probe_read_kernel(daddr, 16, PLACE(sk->__sk_common.skc_v6_daddr));
	} else {
		return false;
	}
	*sport = local_port(sk);
	*dport = from_network(READ(sk->__sk_common.skc_dport));
	return true;
}

static __always_inline u32 socket_netns(struct sock *sk)
{
	struct net *net = READ(sk->__sk_common.skc_net.net);

	return READ(net->ns.inum);
}

/* The control group (v2) of who made it. */
static __always_inline u64 socket_cgroup(struct sock *sk)
{
	struct sock_cgroup_data *data = (void *)PLACE(sk->sk_cgrp_data);
	struct cgroup *group;
	struct kernfs_node *node;

	if (FIELD_EXISTS(data->cgroup)) {
		group = READ(data->cgroup);
	} else {
		/* The lowest bit says that the word is of net_cls and net_prio instead. */
		u64 word = READ(((struct sock_cgroup_data___word *)data)->val);

		group = word & 1 ? 0 : (void *)(word & ~3ULL);
	}
	node = READ(group->kn);
	return READ(node->id);
}

/* Bytes of the stream that were sent, each once. */
static __always_inline u64 bytes_sent(struct sock *sk)
{
	struct tcp_sock *tcp = (void *)sk;

	return READ(tcp->bytes_sent) - READ(tcp->bytes_retrans);
}

#define SOCK_DONE 2 /* the peer has ended its stream: include/net/sock.h, enum sock_flags */

/* Bytes of the stream that came; the kernel counts its end as one more. */
static __always_inline u64 bytes_received(struct sock *sk)
{
	u64 received = READ(((struct tcp_sock *)sk)->bytes_received);

	return received - (received && READ(sk->__sk_common.skc_flags) & SOCK_DONE ? 1 : 0);
}

/* Nanoseconds; 0: none was measured. */
static __always_inline u64 smoothed_rtt(struct sock *sk)
{
	return (u64)(READ(((struct tcp_sock *)sk)->srtt_us) >> 3) * 1000;
}

static __always_inline u32 retransmits(struct sock *sk)
{
	return READ(((struct tcp_sock *)sk)->total_retrans);
}

/* All that left, acknowledgements and what was sent again too. */
static __always_inline u32 segments_sent(struct sock *sk)
{
	return READ(((struct tcp_sock *)sk)->segs_out);
}
