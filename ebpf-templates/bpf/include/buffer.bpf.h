/* Packets: what the headers of a struct sk_buff say, where the kernel has noted them. */
#pragma once
#include "sock.bpf.h"

struct net_device {
	char name[16];
	possible_net_t nd_net;
} CORE;

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	u16 protocol;
	u16 network_header;
	unsigned char *head;
	char cb[48];
} CORE;

/* The longest header without options or extensions, of IPv6. */
struct ip_header {
	u8 bytes[40];
};

/* Addresses, ports and protocol of an IP packet; false: it is none. Extension headers of IPv6 are not passed. */
static __always_inline bool packet_ends(struct sk_buff *skb, u8 *saddr, u8 *daddr, u16 *sport, u16 *dport,
					u8 *protocol)
{
	const unsigned char *header = READ(skb->head) + READ(skb->network_header);
	u32 length, ports = 0;
	struct ip_header ip;

	if (bpf_probe_read_kernel(&ip, sizeof(ip), header))
		return false;
	switch (ip.bytes[0] >> 4) {
	case 4:
		map_v4(saddr, *(u32 *)(ip.bytes + 12));
		map_v4(daddr, *(u32 *)(ip.bytes + 16));
		*protocol = ip.bytes[9];
		length = (ip.bytes[0] & 15) * 4;
		if (from_network(*(u16 *)(ip.bytes + 6)) & 0x1fff) /* a later fragment has no ports */
			return true;
		break;
	case 6:
		__builtin_memcpy(saddr, ip.bytes + 8, 16);
		__builtin_memcpy(daddr, ip.bytes + 24, 16);
		*protocol = ip.bytes[6];
		length = 40;
		break;
	default:
		return false;
	}
	if (*protocol == IPPROTO_TCP || *protocol == IPPROTO_UDP || *protocol == IPPROTO_SCTP) {
		bpf_probe_read_kernel(&ports, sizeof(ports), header + length);
		*sport = from_network(ports);
		*dport = from_network(ports >> 16);
	}
	return true;
}

/* Number of the namespace of its interface, else of its socket. */
static __always_inline u32 packet_netns(struct sk_buff *skb)
{
	struct net_device *dev = READ(skb->dev);
	struct sock *sk = READ(skb->sk);
	struct net *net;

	if (!dev)
		return sk ? socket_netns(sk) : 0;
	net = READ(dev->nd_net.net);
	return READ(net->ns.inum);
}
