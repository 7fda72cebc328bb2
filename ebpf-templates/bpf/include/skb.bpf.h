/* Packets as programs of tc and of cgroups meet them, and what the kernel knows of them beyond their bytes. */
#pragma once
#include "helpers.bpf.h"

static long (*const bpf_skb_load_bytes)(const void *skb, u32 offset, void *to, u32 len) = (void *)26;
static u64 (*const bpf_skb_cgroup_id)(void *skb) = (void *)79;

/* What the kernel shows of a packet; it rewrites accesses. */
struct __sk_buff {
	u32 len;
	u32 pkt_type;
	u32 mark;
	u32 queue_mapping;
	u32 protocol;
};

static __always_inline u16 swapped16(u16 v) { return __builtin_bswap16(v); }
static __always_inline u32 swapped32(u32 v) { return __builtin_bswap32(v); }

struct net___ns {
	struct {
		unsigned int inum;
	} ns;
} CORE;

struct net_device {
	struct {
		struct net___ns *net;
	} nd_net;
} CORE;

struct sk_buff {
	struct net_device *dev;
	unsigned char *head;
	unsigned char *data;
	u16 network_header;
} CORE;

/* The inode of the namespace that the packet's interface is in. */
static __always_inline u32 network_namespace(struct __sk_buff *ctx)
{
	struct sk_buff *skb = (void *)ctx;
	struct net_device *dev = READ(skb->dev);
	struct net___ns *net = READ(dev->nd_net.net);

	return READ(net->ns.inum);
}

/* Where the IP header begins, from where the packet does. */
static __always_inline u32 network_header(struct __sk_buff *ctx)
{
	struct sk_buff *skb = (void *)ctx;

	return READ(skb->head) + READ(skb->network_header) - READ(skb->data);
}
