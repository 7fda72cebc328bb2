// flows: packets, one by one, where they enter and leave: XDP, tc, control groups. Linux 5.10+ with BTF.
#include "skep.bpf.h"
#include "packet.bpf.h"

/* Where it attaches: the runtime reads these, and attaches the program of the hook to each. */
PARAM_TEXT("interface", interface, 256, "", "names or globs, such as \"eth0\" or \"veth*,lo\"");
PARAM_TEXT("cgroup", control_group, 256, "", "instead: packets of the sockets of this cgroup; empty: of all");
PARAM_TEXT("hook", hook, 16, "tc", "\"tc\" or \"xdp\" (ingress alone, before the kernel makes a buffer)");
PARAM_TEXT("direction", direction, 16, "both", "\"ingress\", \"egress\" or \"both\"");

/* IPv4 addresses are mapped into IPv6, so that no address of one family is one of the other. */
struct event {
	FIELD_BYTES(saddr, 16, "ip", "source address");
	FIELD_BYTES(daddr, 16, "ip", "destination address");
	FIELD(u16, sport, "", "source port");
	FIELD(u16, dport, "", "destination port");
	FIELD(u8, protocol, "protocol", "what the packet carries: tcp, udp, icmp, icmpv6, …");
	FIELD(u8, tcp_flags, "tcp_flags", "such as SYN,ACK; tcp_flags & SYN");
	FIELD(u8, family, "family", "ipv4, ipv6, or 0 for neither");
	FIELD(u8, direction, "direction", "ingress, egress");
	FIELD(u32, len, "bytes", "of the packet as the hook has it: with Ethernet's header at XDP and tc");
	FIELD(u32, payload, "bytes", "behind the last header that is known, by the length in the IP header");
	FIELD(u32, interface, "interface", "shown by its name");
	FIELD(u16, ether_type, "ether_type", "ipv4, ipv6, arp, …");
	FIELD(u16, segments, "", "packets that this one stands for until the card cuts it up (GSO)");
	FIELD(u16, vlan, "", "number of the outermost VLAN tag");
	FIELD(u16, inner_vlan, "", "of the one behind it");
	FIELD(u8, tags, "", "how many VLAN tags there are");
	FIELD(u8, ttl, "", "hops that it may go still");
	FIELD(u8, fragment, "fragment", "whole, first or later; later ones have no ports");
	FIELD(bool, malformed, "", "a header begins and is not all there");
	FIELD(u8, icmp_type, "", "of ICMP and ICMPv6");
	FIELD(u8, icmp_code, "", "of ICMP and ICMPv6");
	FIELD(u16, window, "", "of TCP, not scaled");
	FIELD(u32, seq, "", "sequence number of TCP");
	FIELD(u32, ack, "", "acknowledgement number of TCP");
	FIELD_BYTES(smac, 6, "mac", "source of the Ethernet frame");
	u8 _room0[2];
	FIELD_BYTES(dmac, 6, "mac", "destination of the Ethernet frame");
	u8 _room1[2];
	FIELD(u64, cgroup, "cgroup", "of the socket that sends it, where the hook knows one");
	FIELD_BYTES(inner_saddr, 16, "ip", "of the packet in a VXLAN or Geneve tunnel");
	FIELD_BYTES(inner_daddr, 16, "ip", "of the packet in the tunnel");
	FIELD(u16, inner_sport, "", "of the packet in the tunnel");
	FIELD(u16, inner_dport, "", "of the packet in the tunnel");
	FIELD(u8, inner_protocol, "protocol", "of the packet in the tunnel");
	FIELD(bool, tunnel, "", "there is one: VXLAN (port 4789) or Geneve (6081)");
	u8 _room2[2];
	FIELD(u32, vni, "", "number of the tunnel's network");
	u16 _carried; /* where in the packet what UDP carries begins; 0: nothing that could be a tunnel */
	u16 _room3;
};

enum direction { INGRESS, EGRESS };

static u64 (*const bpf_skb_cgroup_id)(struct __sk_buff *skb) = (void *)79;

#define WANT_INNER                                                                                                     \
	(WANT(inner_saddr) || WANT(inner_daddr) || WANT(inner_sport) || WANT(vni))

static __always_inline void address(u8 *to, u8 family, const u32 *from)
{
	u32 *words = (u32 *)to;

	if (family == 4) {
		words[0] = words[1] = 0;
		words[2] = htonl(0xffff);
		words[3] = from[0];
	} else {
		words[0] = from[0];
		words[1] = from[1];
		words[2] = from[2];
		words[3] = from[3];
	}
}

/*
 * The verifier forgets what it knows of an event, which is another one after each path through a packet's headers: from
 * here on they are one to it. Else it does all that follows once for each of them, and gives up.
 */
static __always_inline void forget(struct event *e)
{
	u64 *words = (u64 *)e;

#pragma unroll
	for (u32 i = 0; i < sizeof(*e) / sizeof(*words); i++) {
		u64 word = words[i];

		asm volatile("%0 = be64 %0\n%0 = be64 %0" : "+r"(word));
		words[i] = word;
	}
}

/* All but what only one hook knows. */
static __always_inline void fill(struct event *e, struct packet *p, void *data, void *end, u32 shown)
{
	if (WANT(saddr))
		address(e->saddr, p->family, p->saddr);
	if (WANT(daddr))
		address(e->daddr, p->family, p->daddr);
	e->protocol = p->family ? p->protocol : 0;
	e->family = p->family;
	if (p->has_port && p->protocol != ICMP && p->protocol != ICMPV6) {
		e->sport = p->sport;
		e->dport = p->dport;
	} else if (p->has_port) {
		e->icmp_type = p->dport;
		e->icmp_code = p->icmp_code;
	}
	e->tcp_flags = p->tcp_flags;
	e->ether_type = p->ether_type;
	e->vlan = p->vlan;
	e->inner_vlan = p->inner_vlan;
	e->tags = p->tags;
	e->ttl = p->ttl;
	e->fragment = p->fragment;
	e->malformed = p->cut;
	e->window = p->window;
	e->seq = p->seq;
	e->ack = p->ack;
	if (WANT(payload) && p->family) {
		u32 begins = p->payload, ends = p->length ? p->l3 + p->length : e->len;

		e->payload = ends > begins ? ends - begins : 0;
	}
	if ((WANT(smac) || WANT(dmac)) && shown) {
		struct ethernet *ethernet = HEADER(struct ethernet, data, end);

		if (ethernet) {
			__builtin_memcpy(e->smac, ethernet->from, 6);
			__builtin_memcpy(e->dmac, ethernet->to, 6);
		}
	}
	if (WANT_INNER && p->protocol == UDP && p->has_port && !p->cut)
		e->_carried = p->payload;
}

/* The packet in a tunnel. May more of it be there than is shown? */
static __always_inline bool fill_inner(struct event *e, void *data, void *end)
{
	struct packet outer = {}, inner = {};
	u32 vni = 0;

	forget(e);
	outer.payload = e->_carried;
	outer.has_port = e->_carried != 0;
	outer.protocol = e->protocol;
	outer.dport = e->dport;
	if (!parse_inner(&outer, &inner, &vni, data, end))
		return outer.has_port;
	e->tunnel = true;
	e->vni = vni;
	e->inner_protocol = inner.protocol;
	if (inner.protocol != ICMP && inner.protocol != ICMPV6) {
		e->inner_sport = inner.sport;
		e->inner_dport = inner.dport;
	}
	address(e->inner_saddr, inner.family, inner.saddr);
	address(e->inner_daddr, inner.family, inner.daddr);
	return inner.cut;
}

/* Functions of their own, so that what they put on the stack is gone when slots run. */
static __noinline int fill_xdp(struct xdp_md *ctx, struct event *e)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};

	e->len = end - data;
	e->interface = ctx->ingress_ifindex;
	e->segments = 1;
	parse_ethernet(&p, data, data, end);
	fill(e, &p, data, end, true);
	return 0;
}

static __always_inline void fill_skb(struct __sk_buff *ctx, struct event *e)
{
	e->len = ctx->len;
	e->interface = ctx->ifindex;
	if (WANT(segments))
		e->segments = ctx->gso_segs ? ctx->gso_segs : 1;
	if (WANT(cgroup))
		e->cgroup = bpf_skb_cgroup_id(ctx);
}

static __noinline int fill_tc(struct __sk_buff *ctx, struct event *e)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};

	fill_skb(ctx, e);
	parse_skb(&p, ctx, data, end);
	fill(e, &p, data, end, p.l3 != 0);
	return e->malformed;
}

static __noinline int fill_cgroup(struct __sk_buff *ctx, struct event *e)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};

	fill_skb(ctx, e);
	parse_ip(&p, data, data, end);
	fill(e, &p, data, end, false);
	return 0;
}

static __noinline int inner_xdp(struct xdp_md *ctx, struct event *e)
{
	return fill_inner(e, (void *)(long)ctx->data, (void *)(long)ctx->data_end);
}

static __noinline int inner_skb(struct __sk_buff *ctx, struct event *e)
{
	return fill_inner(e, (void *)(long)ctx->data, (void *)(long)ctx->data_end);
}

SEC("xdp") int of_xdp(struct xdp_md *ctx)
{
	struct event e = {};

	fill_xdp(ctx, &e);
	if (WANT_INNER)
		inner_xdp(ctx, &e);
	consume(ctx, &e);
	return XDP_PASS;
}

static __always_inline int of_tc(struct __sk_buff *ctx, u8 direction)
{
	struct event e = {.direction = direction};

	/* What is not shown yet may be there. */
	if (fill_tc(ctx, &e) && skb_show(ctx)) {
		forget(&e);
		fill_tc(ctx, &e);
	}
	if (WANT_INNER && inner_skb(ctx, &e) && skb_show(ctx))
		inner_skb(ctx, &e);
	consume(ctx, &e);
	return TC_ACT_UNSPEC;
}

SEC("classifier/ingress") int at_ingress(struct __sk_buff *ctx) { return of_tc(ctx, INGRESS); }
SEC("classifier/egress") int at_egress(struct __sk_buff *ctx) { return of_tc(ctx, EGRESS); }

static __always_inline int of_cgroup(struct __sk_buff *ctx, u8 direction)
{
	struct event e = {.direction = direction};

	fill_cgroup(ctx, &e);
	if (WANT_INNER)
		inner_skb(ctx, &e);
	consume(ctx, &e);
	return 1;
}

SEC("cgroup_skb/ingress") int cgroup_ingress(struct __sk_buff *ctx) { return of_cgroup(ctx, INGRESS); }
SEC("cgroup_skb/egress") int cgroup_egress(struct __sk_buff *ctx) { return of_cgroup(ctx, EGRESS); }
TEMPLATE_ABOUT_OTHERS("packets, one by one, where they enter and leave");
