/*
 * Exchanges: a question and its answer, found in what packets carry. The question waits under its two ends; the answer
 * finds it there and makes an event of both, which then goes the way of every event.
 *
 * Packets of a cgroup's sockets, or those of an interface. Payloads are read by bpf_skb_load_bytes(), which reaches all of
 * a packet: most of one lies in pages that a program cannot see directly.
 */
#pragma once
#include "skep.bpf.h"
#include "maps.bpf.h"
#include "skb.bpf.h"

/* Where: the runtime reads these, the programs do not. */
const volatile char interface[64] SEC(".rodata.params") TAG("kind:", "interface")
	DOC("packets of these interfaces, such as eth0 or eth0,eth1, instead of a cgroup's");
const volatile char cgroup[256] SEC(".rodata.params") TAG("kind:", "cgroup")
	DOC("packets of this cgroup's sockets, such as /system.slice; empty = the first one: every socket here");

enum { CLIENT, SERVER };
enum { TCP = 6, UDP = 17 };

/* The two ends, as both the question and its answer have them. */
struct ends {
	u8 client[16]; /* IPv4 as ::ffff:a.b.c.d */
	u8 server[16];
	u32 netns;
	u16 client_port;
	u16 server_port;
	u16 id; /* of the question, where the protocol has one */
	u8 role;
	u8 protocol;
};

#define FIELD_IP(name, help) u8 name[16] TAG("unit:", "ip") DOC(help)
/* What every exchange tells of its ends, as the first fields of its event. */
#define ENDS                                                                                                           \
	FIELD_IP(client, "address of the end that asks");                                                              \
	FIELD_IP(server, "address of the end that answers");                                                           \
	FIELD(u64, cgroup, "cgroup", "of the socket that the packets leave from or come to; 0: not known, as at tc ingress"); \
	FIELD(u32, netns, "", "network namespace: the number of its inode");                                           \
	FIELD(u16, client_port, "", "port of the end that asks");                                                      \
	FIELD(u16, server_port, "", "port of the end that answers");                                                   \
	FIELD(u8, role, "role", "whose packets these are: client where questions leave, server where they come")

/*
 * A number that went through the table. The verifier then does not know what it comes from, and has no reason to follow
 * each of the ways that lead to it through all that comes behind.
 */
static __always_inline u32 forgotten(volatile u32 *room, u32 number)
{
	*room = number;
	return *room;
}

/* A question before the answer to the one before it. */
static __always_inline int nested(void)
{
	struct trust *t = trusted();

	if (t)
		t->nested++;
	return 0;
}

/* Declares the table of questions that wait. The least recently used one makes room when it is full. */
#define EXCHANGES(entries)                                                                                             \
	struct exchange {                                                                                              \
		u64 since;    /* 0: nobody waits */                                                                    \
		u32 sequence; /* of TCP */                                                                             \
		u32 number;   /* of the protocol's own: see forgotten() */                                             \
		struct event event;                                                                                    \
	};                                                                                                             \
	LRU_MAP(exchanges, struct ends, struct exchange, entries);                                                     \
	static const volatile struct exchange no_exchange;                                                             \
                                                                                                                       \
	/* Begins anew what waits under these ends. */                                                                 \
	static __always_inline struct exchange *begin(struct ends *ends)                                               \
	{                                                                                                              \
		begin_in(&exchanges, ends, (const void *)&no_exchange);                                                \
		return bpf_map_lookup_elem(&exchanges, ends);                                                          \
	}                                                                                                              \
                                                                                                                       \
	/* Ends it: what else its event tells is there already. Slots read it where it is. */                          \
	static __always_inline int finish(struct __sk_buff *skb, struct ends *ends, struct exchange *x)                \
	{                                                                                                              \
		struct event *e = &x->event;                                                                           \
                                                                                                                       \
		e->elapsed = bpf_ktime_get_ns() - x->since;                                                            \
		x->since = 0;                                                                                          \
		__builtin_memcpy(e->client, ends->client, sizeof(e->client));                                          \
		__builtin_memcpy(e->server, ends->server, sizeof(e->server));                                          \
		e->netns = ends->netns;                                                                                \
		e->client_port = ends->client_port;                                                                    \
		e->server_port = ends->server_port;                                                                    \
		e->role = ends->role;                                                                                  \
		if (WANT(cgroup))                                                                                      \
			e->cgroup = bpf_skb_cgroup_id(skb);                                                            \
		consume(skb, e);                                                                                       \
		if (!x->since) /* the next question may be there already */                                           \
			end_in(&exchanges, ends);                                                                      \
		return 0;                                                                                              \
	}

/* Where the payload of a packet lies, and what stands before it. Places count from where the packet begins. */
struct payload {
	u32 network;
	u32 at;
	u32 end;
	u32 sequence;	  /* of TCP: where it begins, */
	u32 acknowledged; /* and what came of the other direction */
	u16 from;
	u16 to;
	u8 protocol;
	bool v6;
	bool leaves;
};

struct ipv4 {
	u8 version_length;
	u8 service;
	u16 length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u8 from[4];
	u8 to[4];
};

struct ipv6 {
	u32 version_flow;
	u16 length;
	u8 next;
	u8 hops;
	u8 from[16];
	u8 to[16];
};

struct udp {
	u16 from;
	u16 to;
	u16 length;
	u16 checksum;
};

struct tcp {
	u16 from;
	u16 to;
	u32 sequence;
	u32 acknowledged;
	u8 length;
	u8 flags;
	u16 window;
};

/* Extension headers in front of the payload: IANA's numbers. */
static __always_inline bool skip_extensions(struct __sk_buff *skb, struct payload *p)
{
	for (int n = 0; n < 6; n++) {
		u8 header[4] = {};

		switch (p->protocol) {
		case 0: case 43: case 60: /* hop by hop, routing, destination */
			if (bpf_skb_load_bytes(skb, p->at, header, sizeof(header)))
				return false;
			p->at += (header[1] + 1) * 8;
			break;
		case 51: /* authentication */
			if (bpf_skb_load_bytes(skb, p->at, header, sizeof(header)))
				return false;
			p->at += (header[1] + 2) * 4;
			break;
		case 44: /* fragment: only the first has what comes next */
			if (bpf_skb_load_bytes(skb, p->at, header, sizeof(header)) || header[2] || header[3] >> 3)
				return false;
			p->at += 8;
			break;
		default:
			return true;
		}
		p->protocol = header[0];
	}
	return false;
}

/* Finds the payload of TCP or UDP; false: there is none. `network` is where the IP header begins. */
static __always_inline bool find_payload(struct __sk_buff *skb, u32 network, bool leaves, struct payload *p)
{
	u32 length;
	u8 version;

	if (bpf_skb_load_bytes(skb, network, &version, 1))
		return false;
	p->network = network;
	p->leaves = leaves;
	p->v6 = version >> 4 == 6;
	if (p->v6) {
		struct ipv6 ip;

		if (bpf_skb_load_bytes(skb, network, &ip, sizeof(ip)))
			return false;
		p->at = network + sizeof(ip);
		p->protocol = ip.next;
		length = swapped16(ip.length) ? p->at + swapped16(ip.length) : 0;
		if (!skip_extensions(skb, p))
			return false;
	} else {
		struct ipv4 ip;

		if (version >> 4 != 4 || bpf_skb_load_bytes(skb, network, &ip, sizeof(ip)) ||
		    swapped16(ip.fragment) & 0x1fff) /* not the first */
			return false;
		p->at = network + (ip.version_length & 15) * 4;
		p->protocol = ip.protocol;
		length = ip.length ? network + swapped16(ip.length) : 0;
	}
	/* Ethernet pads short packets; what is longer than a header can say, says 0. */
	p->end = length && length < skb->len ? length : skb->len;
	if (p->protocol == UDP) {
		struct udp udp;

		if (bpf_skb_load_bytes(skb, p->at, &udp, sizeof(udp)))
			return false;
		p->at += sizeof(udp);
		p->from = swapped16(udp.from);
		p->to = swapped16(udp.to);
		p->sequence = p->acknowledged = 0;
	} else if (p->protocol == TCP) {
		struct tcp tcp;

		if (bpf_skb_load_bytes(skb, p->at, &tcp, sizeof(tcp)))
			return false;
		p->at += (tcp.length >> 4) * 4;
		p->from = swapped16(tcp.from);
		p->to = swapped16(tcp.to);
		p->sequence = swapped32(tcp.sequence);
		p->acknowledged = swapped32(tcp.acknowledged);
	} else {
		return false;
	}
	return p->at < p->end;
}

/* Both ends of a packet that is a question, or the answer to one. */
static __always_inline void find_ends(struct __sk_buff *skb, struct payload *p, bool answers, struct ends *ends)
{
	u8 *from = answers ? ends->server : ends->client, *to = answers ? ends->client : ends->server;

	__builtin_memset(ends, 0, sizeof(*ends));
	if (p->v6) {
		bpf_skb_load_bytes(skb, p->network + __builtin_offsetof(struct ipv6, from), from, 16);
		bpf_skb_load_bytes(skb, p->network + __builtin_offsetof(struct ipv6, to), to, 16);
	} else {
		from[10] = from[11] = to[10] = to[11] = 0xff;
		bpf_skb_load_bytes(skb, p->network + __builtin_offsetof(struct ipv4, from), from + 12, 4);
		bpf_skb_load_bytes(skb, p->network + __builtin_offsetof(struct ipv4, to), to + 12, 4);
	}
	ends->netns = network_namespace(skb);
	ends->client_port = answers ? p->to : p->from;
	ends->server_port = answers ? p->from : p->to;
	ends->role = p->leaves == answers ? SERVER : CLIENT;
	ends->protocol = p->protocol;
}

/* The four twins: packets of a cgroup's sockets, packets of an interface. All of them pass. */
#define EXCHANGE_PROGRAMS(heard)                                                                                       \
	SEC("cgroup_skb/egress") int socket_sends(struct __sk_buff *skb) { heard(skb, 0, true); return 1; }            \
	SEC("cgroup_skb/ingress") int socket_receives(struct __sk_buff *skb) { heard(skb, 0, false); return 1; }       \
	SEC("classifier/egress") int interface_sends(struct __sk_buff *skb) { heard(skb, network_header(skb), true); return -1; } \
	SEC("classifier/ingress") int interface_receives(struct __sk_buff *skb) { heard(skb, network_header(skb), false); return -1; }
