// What skep's policy is compared with, written by hand: nothing, a longest-prefix trie, a hash of five-tuples; and a
// program in front of each that gives every packet another source.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct key {
	__u32 length;
	__u8 address[16];
};

struct tuple {
	__u8 source[16];
	__u8 destination[16];
	__u16 source_port;
	__u16 destination_port;
	__u32 protocol;
};

struct source {
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct key);
	__type(value, __u32);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct tuple);
	__type(value, __u32);
} tuples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct source);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

SEC("xdp") int empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

static __always_inline int looked_up(struct xdp_md *ctx, int is_tuple)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip6 = data + sizeof(*eth);
	struct iphdr *ip = data + sizeof(*eth);
	struct key key = { .length = 128 };
	struct tuple tuple = {};
	__u32 *value;
	__u16 *ports;

	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip + 1) > end)
			return XDP_PASS;
		key.length = 32;
		__builtin_memcpy(key.address, &ip->saddr, 4);
		__builtin_memcpy(tuple.source, &ip->saddr, 4);
		__builtin_memcpy(tuple.destination, &ip->daddr, 4);
		tuple.protocol = ip->protocol;
		ports = (void *)(ip + 1);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end)
			return XDP_PASS;
		__builtin_memcpy(key.address, &ip6->saddr, 16);
		__builtin_memcpy(tuple.source, &ip6->saddr, 16);
		__builtin_memcpy(tuple.destination, &ip6->daddr, 16);
		tuple.protocol = ip6->nexthdr;
		ports = (void *)(ip6 + 1);
	} else {
		return XDP_PASS;
	}
	if (is_tuple) {
		if ((void *)(ports + 2) > end)
			return XDP_PASS;
		tuple.source_port = ports[0];
		tuple.destination_port = ports[1];
		value = bpf_map_lookup_elem(&tuples, &tuple);
	} else {
		value = bpf_map_lookup_elem(&prefixes, &key);
	}
	if (!value)
		return XDP_PASS;
	(*value)++;
	return XDP_DROP;
}

SEC("xdp") int trie(struct xdp_md *ctx)
{
	return looked_up(ctx, 0);
}

SEC("xdp") int tuple(struct xdp_md *ctx)
{
	return looked_up(ctx, 1);
}

/* One of 65,536 sources at random; then the program that is measured. */
SEC("xdp") int other_source(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip6 = data + sizeof(*eth);
	struct iphdr *ip = data + sizeof(*eth);
	__u32 which = bpf_get_prandom_u32() & 0xffff;
	struct source *source = bpf_map_lookup_elem(&sources, &which);

	if (source && (void *)(ip6 + 1) <= end) {
		if (eth->h_proto == bpf_htons(ETH_P_IP))
			__builtin_memcpy(&ip->saddr, source, 4);
		else
			__builtin_memcpy(&ip6->saddr, source, 16);
	}
	bpf_tail_call(ctx, &next, 0);
	return XDP_ABORTED;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
