/*
 * What a packet is: one parser for XDP, tc and cgroups. It reads the packet where it lies and is inlined, so that only
 * what a program uses of `struct packet` costs anything.
 *
 *	struct packet p = {};
 *	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
 *
 *	parse_ethernet(&p, data, data, end);		XDP
 *	parse_skb(&p, ctx, data, end);			tc
 *	parse_ip(&p, data, data, end);			cgroup_skb: begins with the IP header
 *
 * `p.cut` says that a header begins that is not all there: the packet is malformed, or what `data` to `end` shows of an
 * skb is too little (then skb_show() and once more).
 */
#pragma once
#include "helpers.bpf.h"

#define htons(n) ((u16)__builtin_bswap16(n))
#define ntohs(n) ((u16)__builtin_bswap16(n))
#define htonl(n) ((u32)__builtin_bswap32(n))
#define ntohl(n) ((u32)__builtin_bswap32(n))

/* The contexts. Source: include/uapi/linux/bpf.h. */
struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
	u32 rx_queue_index;
	u32 egress_ifindex;
};

struct __sk_buff {
	u32 len;
	u32 pkt_type;
	u32 mark;
	u32 queue_mapping;
	u32 protocol; /* network order */
	u32 vlan_present;
	u32 vlan_tci;
	u32 vlan_proto;
	u32 priority;
	u32 ingress_ifindex;
	u32 ifindex;
	u32 tc_index;
	u32 cb[5];
	u32 hash;
	u32 tc_classid;
	u32 data;
	u32 data_end;
	u32 napi_id;
	u32 family;
	u32 remote_ip4;
	u32 local_ip4;
	u32 remote_ip6[4];
	u32 local_ip6[4];
	u32 remote_port;
	u32 local_port;
	u32 data_meta;
	u64 flow_keys;
	u64 tstamp;
	u32 wire_len;
	u32 gso_segs;
	u64 sk;
	u32 gso_size;
};

enum { XDP_DROP = 1, XDP_PASS = 2 };
/* A filter leaves the packet to those behind it; so does a tcx link, where it is called TCX_NEXT. */
enum { TC_ACT_UNSPEC = -1, TC_ACT_OK = 0, TC_ACT_SHOT = 2 };

static long (*const bpf_skb_load_bytes)(const void *skb, u32 offset, void *to, u32 len) = (void *)26;

enum ether_type { ETH_IPV4 = 0x0800, ETH_ARP = 0x0806, ETH_BRIDGED = 0x6558, ETH_VLAN = 0x8100, ETH_IPV6 = 0x86dd, ETH_QINQ = 0x88a8 };
enum protocol {
	HOP_BY_HOP = 0, ICMP = 1, TCP = 6, UDP = 17, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, ICMPV6 = 58,
	DESTINATION = 60, SCTP = 132,
};
enum fragment { WHOLE, FIRST_FRAGMENT, LATER_FRAGMENT };
enum tcp_flag { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_URG = 32 };

struct packet {
	u32 saddr[4];	/* network order; of IPv4 the first word, the rest zero */
	u32 daddr[4];
	u16 ether_type;
	u8 family;	/* 4, 6; 0: neither */
	u8 protocol;	/* of what is behind all extension headers */
	u16 sport;	/* host order; 0 where there are none */
	u16 dport;	/* of ICMP the type */
	bool has_port;	/* later fragments have none, nor have protocols without */
	bool cut;
	u8 fragment;
	u8 ttl;
	u8 icmp_code;
	u8 tcp_flags;
	u8 tags;	/* VLAN tags, those outside of `data` too */
	u16 vlan;	/* the outermost */
	u16 inner_vlan;
	u16 window;
	u32 seq;
	u32 ack;
	u16 l3;		/* from `data` on: the network's header, what it carries, what that carries */
	u16 l4;
	u16 payload;
	u16 length;	/* as the IP header says, from it on; 0 for more than it can say */
};

struct ethernet {
	u8 to[6];
	u8 from[6];
	u16 type;
} __attribute__((packed));

struct vlan_tag {
	u16 tci;
	u16 type;
};

struct ipv4 {
	u8 version_length;
	u8 tos;
	u16 length;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 check;
	u32 saddr;
	u32 daddr;
};

struct ipv6 {
	u32 version;
	u16 length;
	u8 next;
	u8 ttl;
	u32 saddr[4];
	u32 daddr[4];
};

struct ipv6_extension {
	u8 next;
	u8 length;
	u16 fragment; /* of a fragment header */
	u32 id;
};

/* What all that have ports begin with. */
struct ports {
	u16 sport;
	u16 dport;
};

struct tcp {
	u16 sport;
	u16 dport;
	u32 seq;
	u32 ack;
	u8 length;
	u8 flags;
	u16 window;
	u16 check;
	u16 urgent;
};

struct udp {
	u16 sport;
	u16 dport;
	u16 length;
	u16 check;
};

struct icmp {
	u8 type;
	u8 code;
	u16 check;
	u32 rest;
};

/* A header at `at`, or none where the packet ends before it does. */
#define HEADER(type, at, end) ((void *)(at) + sizeof(type) > (end) ? (type *)0 : (type *)(at))

static __always_inline void *cut(struct packet *p)
{
	p->cut = true;
	return 0;
}

/* Pointers into packets are 64 bits wide to the verifier; the compiler would add and subtract halves. */
#define WHOLE_REGISTER(value) asm volatile("" : "+r"(value))

static __always_inline void *forward(void *at, u64 length)
{
	WHOLE_REGISTER(length);
	at += length;
	WHOLE_REGISTER(at);
	return at;
}

/*
 * The verifier forgets what it knows of a number below 65536, so that branches which differ in it alone are one to it
 * from here on. Else it follows every combination of tags, extension headers and protocols by itself.
 */
static __always_inline u64 forgotten(u64 number)
{
	asm volatile("%0 = be16 %0\n%0 = be16 %0" : "+r"(number));
	return number;
}

/* As forward(), over at most `mask` bytes (all of whose bits are set). */
static __always_inline void *forward_some(void *at, u64 length, u64 mask)
{
	length = forgotten(length) & mask;
	return forward(at, length);
}

static __always_inline u16 offset(void *at, void *data)
{
	u64 n = at - data;

	WHOLE_REGISTER(n);
	return n;
}

/* What IP carries. */
static __always_inline void parse_transport(struct packet *p, void *at, void *end)
{
	if (p->protocol == TCP) {
		struct tcp *tcp = HEADER(struct tcp, at, end);
		u32 length;

		if (!tcp) {
			cut(p);
			return;
		}
		length = (tcp->length >> 4) * 4;
		p->sport = ntohs(tcp->sport);
		p->dport = ntohs(tcp->dport);
		p->has_port = true;
		p->tcp_flags = tcp->flags;
		p->seq = ntohl(tcp->seq);
		p->ack = ntohl(tcp->ack);
		p->window = ntohs(tcp->window);
		p->payload += length;
		if (length < sizeof(*tcp))
			cut(p);
	} else if (p->protocol == UDP || p->protocol == SCTP) {
		struct ports *ports = HEADER(struct ports, at, end);

		if (!ports) {
			cut(p);
			return;
		}
		p->sport = ntohs(ports->sport);
		p->dport = ntohs(ports->dport);
		p->has_port = true;
		p->payload += p->protocol == UDP ? sizeof(struct udp) : 12;
	} else if (p->protocol == ICMP || p->protocol == ICMPV6) {
		struct icmp *icmp = HEADER(struct icmp, at, end);

		if (!icmp) {
			cut(p);
			return;
		}
		p->dport = icmp->type;
		p->icmp_code = icmp->code;
		p->has_port = true;
		p->payload += sizeof(*icmp);
	}
}

/* Where what IP carries begins; none of its headers are in a later fragment. */
static __always_inline void *carried(struct packet *p, void *data, void *at, bool later)
{
	u64 length = forgotten(offset(at, data)) & 0x3fff;

	p->protocol = forgotten(p->protocol);
	p->fragment = forgotten(p->fragment);
	p->l4 = p->payload = length;
	if (!later)
		return forward(data, length);
	p->fragment = LATER_FRAGMENT;
	return 0;
}

/* The IP header, up to what it carries; none where there is none or it is cut. */
static __always_inline void *skip_ipv4(struct packet *p, void *data, void *at, void *end)
{
	struct ipv4 *ip = HEADER(struct ipv4, at, end);
	u32 length;
	u16 fragment;

	if (!ip || ip->version_length >> 4 != 4)
		return cut(p);
	length = (ip->version_length & 15) * 4;
	if (length < sizeof(*ip))
		return cut(p);
	p->family = 4;
	p->saddr[0] = ip->saddr;
	p->daddr[0] = ip->daddr;
	p->protocol = ip->protocol;
	p->ttl = ip->ttl;
	p->length = ntohs(ip->length);
	fragment = ntohs(ip->fragment);
	if (fragment & 0x2000)
		p->fragment = FIRST_FRAGMENT;
	return carried(p, data, forward_some(at, length, 63), fragment & 0x1fff);
}

/* More of them than this no sender has use for. */
#define EXTENSIONS 4

static __always_inline bool is_extension(u8 next)
{
	const u64 all = 1ULL << HOP_BY_HOP | 1ULL << ROUTING | 1ULL << FRAGMENT | 1ULL << AUTHENTICATION |
			1ULL << DESTINATION;

	return next < 64 && (all >> next & 1);
}

static __always_inline u64 extension_length(u8 kind, u8 length)
{
	return kind == FRAGMENT ? 8 : kind == AUTHENTICATION ? length * 4 + 8 : length * 8 + 8;
}

static __always_inline void *skip_ipv6(struct packet *p, void *data, void *at, void *end)
{
	struct ipv6 *ip = HEADER(struct ipv6, at, end);
	u16 payload;

	if (!ip || (ip->version & 0xf0) != 0x60)
		return cut(p);
	p->family = 6;
	__builtin_memcpy(p->saddr, ip->saddr, 16);
	__builtin_memcpy(p->daddr, ip->daddr, 16);
	p->ttl = ip->ttl;
	payload = ntohs(ip->length);
	p->length = payload ? payload + sizeof(*ip) : 0;
	p->protocol = ip->next;
	at += sizeof(*ip);
#pragma unroll
	for (int i = 0; i < EXTENSIONS && is_extension(p->protocol); i++) {
		struct ipv6_extension *extension = HEADER(struct ipv6_extension, at, end);
		u8 kind = p->protocol;

		if (!extension)
			return cut(p);
		p->protocol = extension->next;
		at = forward_some(at, extension_length(kind, extension->length), 0xfff);
		if (kind == FRAGMENT) {
			u16 fragment = ntohs(extension->fragment);

			if (fragment & 0xfff8)
				return carried(p, data, at, true);
			if (fragment & 1)
				p->fragment = FIRST_FRAGMENT;
		}
	}
	return is_extension(p->protocol) ? cut(p) : carried(p, data, at, false);
}

/* From the header behind all tags on; `p->ether_type` says which. Without one, the packet is cut. */
static __always_inline void parse_network(struct packet *p, void *data, void *at, void *end)
{
	if (!at) {
		cut(p);
		return;
	}
	p->l3 = p->l4 = p->payload = offset(at, data);
	if (p->ether_type == ETH_IPV4)
		at = skip_ipv4(p, data, at, end);
	else if (p->ether_type == ETH_IPV6)
		at = skip_ipv6(p, data, at, end);
	else
		return;
	if (at)
		parse_transport(p, at, end);
}

/* From an IP header on. */
static __always_inline void parse_ip(struct packet *p, void *data, void *at, void *end)
{
	u8 *first = HEADER(u8, at, end);

	if (first)
		p->ether_type = *first >> 4 == 6 ? ETH_IPV6 : ETH_IPV4;
	parse_network(p, data, first, end);
}

static __always_inline bool is_tag(u16 type) { return type == ETH_VLAN || type == ETH_QINQ; }

static __always_inline void tagged(struct packet *p, u16 tci)
{
	if (!p->tags++)
		p->vlan = tci & 0xfff;
	else
		p->inner_vlan = tci & 0xfff;
}

/* The Ethernet header and up to two tags. */
static __always_inline void *skip_ethernet(struct packet *p, void *at, void *end)
{
	struct ethernet *ethernet = HEADER(struct ethernet, at, end);
	u64 length = 0;

	if (!ethernet)
		return 0;
	p->ether_type = ntohs(ethernet->type);
	at += sizeof(*ethernet);
	if (is_tag(p->ether_type)) {
		struct vlan_tag *tag = HEADER(struct vlan_tag, at, end);

		if (!tag)
			return 0;
		tagged(p, ntohs(tag->tci));
		p->ether_type = ntohs(tag->type);
		length = sizeof(*tag);
		if (is_tag(p->ether_type)) {
			tag = HEADER(struct vlan_tag, tag + 1, end);
			if (!tag)
				return 0;
			tagged(p, ntohs(tag->tci));
			p->ether_type = ntohs(tag->type);
			length += sizeof(*tag);
		}
	}
	p->ether_type = forgotten(p->ether_type);
	p->tags = forgotten(p->tags);
	return forward_some(at, length, 15);
}

/* From an Ethernet header on. */
static __always_inline void parse_ethernet(struct packet *p, void *data, void *at, void *end)
{
	parse_network(p, data, skip_ethernet(p, at, end), end);
}

/*
 * A packet at tc. The outermost tag stands in the skb alone where hardware or the kernel has taken it off. Tunnels'
 * interfaces have no Ethernet header: then what begins is what the skb says of its protocol.
 */
static __always_inline void parse_skb(struct packet *p, struct __sk_buff *skb, void *data, void *end)
{
	struct ethernet *ethernet = HEADER(struct ethernet, data, end);
	u16 type = ethernet ? ntohs(ethernet->type) : 0, protocol = ntohs((u16)skb->protocol);
	u8 *first = HEADER(u8, data, end);
	void *at = data;

	if (skb->vlan_present)
		tagged(p, skb->vlan_tci);
	if (first && type != protocol && !is_tag(type) &&
	    ((protocol == ETH_IPV4 && *first >> 4 == 4) || (protocol == ETH_IPV6 && *first >> 4 == 6)))
		p->ether_type = protocol;
	else
		at = skip_ethernet(p, data, end);
	parse_network(p, data, at, end);
}

/* The most that headers take, tunnels' included. */
#define HEADERS 256

/* Has more of the skb lie between `data` and `data_end`, if there is more: they must be read again. tc alone can. */
static __always_inline bool skb_show(struct __sk_buff *skb)
{
	u32 length = skb->len < HEADERS ? skb->len : HEADERS;
	long shown = (long)skb->data_end - (long)skb->data;

	return shown < length && !bpf_skb_pull_data(skb, length);
}

/* Packets inside of packets. */
#define VXLAN_PORT 4789
#define GENEVE_PORT 6081

struct tunnel {
	u8 flags;     /* VXLAN; Geneve: version, length of the options in words */
	u8 options;
	u16 protocol; /* Geneve */
	u32 vni;      /* upper three bytes */
};

/*
 * The inner packet of VXLAN or Geneve, its offsets from `data` on too; its VNI. False: there is none. Call it with the
 * outer one parsed.
 */
static __always_inline bool parse_inner(const struct packet *outer, struct packet *p, u32 *vni, void *data, void *end)
{
	u16 port = forgotten(outer->dport);
	bool vxlan = port == VXLAN_PORT;
	void *at = forward_some(data, outer->payload, 0x3fff);
	struct tunnel *tunnel;

	if (forgotten(outer->protocol) != UDP || !forgotten(outer->has_port & !outer->cut) || (!vxlan && port != GENEVE_PORT))
		return false;
	tunnel = HEADER(struct tunnel, at, end);
	/* VXLAN: is there a VNI? Geneve: version 0. */
	if (!tunnel || (vxlan ? !(tunnel->flags & 8) : tunnel->flags >> 6))
		return false;
	*vni = ntohl(tunnel->vni) >> 8;
	at = forward_some(at, sizeof(*tunnel) + (vxlan ? 0 : (tunnel->flags & 63) * 4), 0x1ff);
	p->ether_type = vxlan ? ETH_BRIDGED : ntohs(tunnel->protocol);
	if (p->ether_type == ETH_BRIDGED)
		at = skip_ethernet(p, at, end);
	parse_network(p, data, at, end);
	return true;
}
