// drops: packets that the kernel throws away: which, where in its code, and why. Linux 5.10+ with BTF.
//
// The reason is there from Linux 5.17 on; its numbers change with every kernel, so names are taken from the one that runs.
// What is no packet of a network, such as a message between processes, is not shown.
#include "connection.bpf.h"
#include "maps.bpf.h"
#include "buffer.bpf.h"

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
};
SCRATCH(room, struct event)

static __always_inline int dropped(u64 *ctx, u32 reason)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct net_device *dev = READ(skb->dev);
	struct event *e = room_of_this_cpu();
	struct sock *sk = READ(skb->sk);
	bool is_ip;

	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	/* On its way out it may have no header as yet: then its socket knows. */
	is_ip = packet_ends(skb, e->saddr, e->daddr, &e->sport, &e->dport, &e->protocol) ||
		(sk && socket_ends(sk, e->saddr, e->daddr, &e->sport, &e->dport));
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
	if (dev && WANT(ifname))
		bpf_probe_read_kernel_str(e->ifname, sizeof(e->ifname), PLACE(dev->name));
	return consume(ctx, e);
}

/* (skb, location, reason from 5.17 on, rx_sk from 6.11 on) */
SEC("tp_btf/kfree_skb") TAG("arguments:", "2") int drop_5_10(u64 *ctx) { return dropped(ctx, 0); }
SEC("tp_btf/kfree_skb") TAG("arguments:", "3") int drop_5_17(u64 *ctx) { return dropped(ctx, ctx[2]); }
SEC("tp_btf/kfree_skb") TAG("arguments:", "4") int drop(u64 *ctx) { return dropped(ctx, ctx[2]); }
TEMPLATE_ABOUT_OTHERS("packets that the kernel throws away, where and why");
