// drops: packets that the kernel throws away: which, where in its code, and why. Linux 5.10+ with BTF.
//
// The reason is there from Linux 5.17 on; its numbers change with every kernel, so names are taken from the one that runs.
// What is no packet of a network, such as a message between processes, is not shown.
#include "connection.bpf.h"
#include "maps.bpf.h"
#include "buffer.bpf.h"

enum { IPPROTO_ICMP = 1, IPPROTO_ICMPV6 = 58 };

struct event {
	FIELDS_OF_ENDS("that it comes from", "that it goes to");
	u32 _pad;
	FIELD(u64, location, "ksym", "where in the kernel");
	FIELD(u32, reason, "enum:skb_drop_reason", "why; 0 where the kernel does not say");
	FIELD(u32, packet_netns, "", "number of the network namespace");
	FIELD(u32, size, "bytes", "length of the packet, as far as it is unwrapped by then");
	FIELD(u16, ethertype, "hex", "what it is, above Ethernet: 0x800 IPv4, 0x86dd IPv6, 0x806 ARP");
	FIELD(u8, protocol, "protocol", "of IP");
	FIELD(u8, state, "tcp_state", "of the socket that it had reached or came from; 0 = none");
	FIELD_TEXT(ifname, 16, "interface; empty where it has none");
	FIELD(u8, tcp_flags, "tcp_flags", "such as SYN,ACK; 0 where it has no header as yet");
	FIELD(u8, icmp_type, "", "of ICMP and ICMPv6");
	FIELD(u8, icmp_code, "", "of ICMP and ICMPv6");
	u8 _room[5];
};
SCRATCH(room, struct event)

/* What stands behind the IP header. Of a later fragment that is something else. */
static __always_inline void read_transport(struct sk_buff *skb, struct event *e)
{
	const unsigned char *header = READ(skb->head) + READ(skb->network_header);
	u8 first = 0, icmp[2] = {};
	u16 offset = 0;

	bpf_probe_read_kernel(&first, sizeof(first), header);
	if (first >> 4 == 4)
		bpf_probe_read_kernel(&offset, sizeof(offset), header + 6);
	if (from_network(offset) & 0x1fff)
		return;
	header += first >> 4 == 4 ? (first & 15) * 4 : 40;
	if (e->protocol == IPPROTO_TCP)
		bpf_probe_read_kernel(&e->tcp_flags, sizeof(e->tcp_flags), header + 13);
	if (e->protocol == IPPROTO_ICMP || e->protocol == IPPROTO_ICMPV6) {
		bpf_probe_read_kernel(icmp, sizeof(icmp), header);
		e->icmp_type = icmp[0];
		e->icmp_code = icmp[1];
	}
}

static __always_inline int dropped(u64 *ctx, u32 reason)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct net_device *dev = READ(skb->dev);
	struct event *e = room_of_this_cpu();
	struct sock *sk = READ(skb->sk);
	bool has_header, is_ip;

	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	/* On its way out it may have no header as yet: then its socket knows. */
	has_header = packet_ends(skb, e->saddr, e->daddr, &e->sport, &e->dport, &e->protocol);
	is_ip = has_header || (sk && socket_ends(sk, e->saddr, e->daddr, &e->sport, &e->dport));
	if ((!is_ip && !dev) || !CONCERNS_ENDS(e))
		return 0;
	e->packet_netns = packet_netns(skb);
	if (netns && e->packet_netns != netns)
		return 0;
	e->reason = reason;
	e->location = ctx[1];
	e->size = READ(skb->len);
	e->ethertype = from_network(READ(skb->protocol));
	if (sk && e->protocol == IPPROTO_TCP)
		e->state = READ(sk->__sk_common.skc_state);
	if (has_header && (WANT(tcp_flags) || WANT(icmp_type) || WANT(icmp_code)))
		read_transport(skb, e);
	if (dev && WANT(ifname))
		bpf_probe_read_kernel_str(e->ifname, sizeof(e->ifname), PLACE(dev->name));
	return consume(ctx, e);
}

/* (skb, location, reason from 5.17 on, rx_sk from 6.11 on) */
SEC("tp_btf/kfree_skb") TAG("arguments:", "2") int drop_5_10(u64 *ctx) { return dropped(ctx, 0); }
SEC("tp_btf/kfree_skb") TAG("arguments:", "3") int drop_5_17(u64 *ctx) { return dropped(ctx, ctx[2]); }
SEC("tp_btf/kfree_skb") TAG("arguments:", "4") int drop(u64 *ctx) { return dropped(ctx, ctx[2]); }
TEMPLATE_ABOUT_OTHERS("packets that the kernel throws away, where and why");
