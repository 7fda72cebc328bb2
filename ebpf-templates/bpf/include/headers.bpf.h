/*
 * What a packet says of itself, seen from an endpoint: its peer and its own address, not source and destination. Ethernet
 * with up to two VLAN tags, IPv4 with options, IPv6 with its extension headers, TCP, UDP, SCTP, ICMP.
 */
#pragma once
#include "helpers.bpf.h"

enum { ETH_P_IP = 0x0800, ETH_P_8021Q = 0x8100, ETH_P_IPV6 = 0x86dd, ETH_P_8021AD = 0x88a8 };
enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58, SCTP = 132 };
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

struct ethernet {
	u8 to[6];
	u8 from[6];
	u16 kind;
} __attribute__((packed));

struct vlan {
	u16 tag;
	u16 kind;
};

struct ipv4 {
	u8 length : 4, version : 4; /* in words */
	u8 service;
	u16 total;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 checksum;
	u32 source;
	u32 destination;
};

struct ipv6 {
	u32 flow;
	u16 length;
	u8 next;
	u8 hops;
	u32 source[4];
	u32 destination[4];
};

/* Of hop-by-hop options, routing, destination options; `length` counts 8 bytes beyond the first 8. */
struct ipv6_option {
	u8 next;
	u8 length;
	u16 fragment;
	u32 id;
};

struct packet {
	u64 peer[2];
	u64 own[2];
	u32 length;   /* from the IP header on */
	u32 fragment; /* its id */
	u16 peer_port;
	u16 own_port;
	u16 port; /* destination's, or the type of ICMP */
	u8 protocol;
	u8 flags; /* of TCP */
	bool is_v6;
	bool has_port;
	bool begins_fragments;
	bool is_later_fragment;
	u16 at; /* where the header above IP begins */
};

enum parsed { UNDERSTOOD, NOT_IP, MALFORMED };

#define SWAP16(value) __builtin_bswap16(value)
#define SWAP32(value) __builtin_bswap32(value)
/* Headers beyond are not looked at. */
#define FURTHEST 1024

static __always_inline void ends_v4(struct packet *p, u64 source, u64 destination, bool leaves)
{
	p->peer[0] = (leaves ? destination : source) << 32;
	p->own[0] = (leaves ? source : destination) << 32;
	p->peer[1] = p->own[1] = 0;
}

static __always_inline void address_v6(u64 *number, const u32 *address)
{
	number[0] = (u64)SWAP32(address[0]) << 32 | SWAP32(address[1]);
	number[1] = (u64)SWAP32(address[2]) << 32 | SWAP32(address[3]);
}

static __always_inline void ends_v6(struct packet *p, const struct ipv6 *ip, bool leaves)
{
	address_v6(leaves ? p->own : p->peer, ip->source);
	address_v6(leaves ? p->peer : p->own, ip->destination);
}

/*
 * Ports, types and flags; without them where the packet is too short for its own protocol, or a later fragment. Apart from
 * the rest: they cost as much as it, and many rules do not ask.
 */
static __always_inline void parse_transport(struct packet *p, void *data, void *end, bool leaves)
{
	void *at = data + p->at;
	u16 *ports = at;
	u8 *bytes = at;

	if (p->is_later_fragment || p->at > FURTHEST + 2048)
		return;
	if (p->protocol == TCP || p->protocol == UDP || p->protocol == SCTP) {
		if (at + 4 > end)
			return;
		p->peer_port = SWAP16(leaves ? ports[1] : ports[0]);
		p->own_port = SWAP16(leaves ? ports[0] : ports[1]);
		p->port = SWAP16(ports[1]);
		p->has_port = true;
		if (p->protocol == TCP && at + 14 <= end)
			p->flags = bytes[13];
	} else if (p->protocol == ICMP || p->protocol == ICMPV6) {
		if (at + 1 > end)
			return;
		p->port = bytes[0];
		p->has_port = true;
		/* An echo's id stands for both of its ports. */
		if (at + 6 <= end)
			p->peer_port = p->own_port = SWAP16(ports[2]);
	}
}

static __always_inline enum parsed parse_v4(struct packet *p, void *data, u32 at, void *end, bool leaves)
{
	struct ipv4 *ip = data + at;
	u16 fragment;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->length < 5)
		return MALFORMED;
	fragment = SWAP16(ip->fragment);
	p->protocol = ip->protocol;
	p->length = SWAP16(ip->total);
	ends_v4(p, SWAP32(ip->source), SWAP32(ip->destination), leaves);
	p->at = at + ip->length * 4;
	if (fragment & 0x3fff) {
		p->fragment = ip->id;
		p->is_later_fragment = fragment & 0x1fff;
		p->begins_fragments = !p->is_later_fragment;
	}
	return UNDERSTOOD;
}

/* With up to `headers` between IP's own and what is above; more of them are a protocol that nobody names. */
static __always_inline enum parsed parse_v6(struct packet *p, void *data, u32 at, void *end, bool leaves, u32 headers)
{
	struct ipv6 *ip = data + at;
	struct ipv6_option *option;
	u32 header, next;

	if ((void *)(ip + 1) > end || (((u8 *)ip)[0] >> 4) != 6)
		return MALFORMED;
	p->is_v6 = true;
	p->length = SWAP16(ip->length) + sizeof(*ip);
	ends_v6(p, ip, leaves);
	next = ip->next;
	at += sizeof(*ip);
	for (header = 0; header < headers; header++) {
		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60)
			break;
		if (at > FURTHEST)
			break;
		option = data + at;
		if ((void *)(option + 1) > end)
			break;
		if (next == 44) {
			p->fragment = option->id;
			p->is_later_fragment = SWAP16(option->fragment) & 0xfff8;
			p->begins_fragments = !p->is_later_fragment && SWAP16(option->fragment) & 1;
			at += 8;
		} else if (next == 51) {
			at += (option->length + 2) * 4;
		} else {
			at += (option->length + 1) * 8;
		}
		next = option->next;
		if (p->is_later_fragment)
			break;
	}
	p->protocol = next;
	p->at = at;
	return UNDERSTOOD;
}

/* From the IP header on. */
static __always_inline enum parsed parse_ip(struct packet *p, u16 kind, void *data, u32 at, void *end, bool leaves)
{
	if (kind == SWAP16(ETH_P_IP))
		return parse_v4(p, data, at, end, leaves);
	if (kind == SWAP16(ETH_P_IPV6))
		return parse_v6(p, data, at, end, leaves, 4);
	return NOT_IP;
}

static __always_inline enum parsed parse_ethernet(struct packet *p, void *data, void *end, bool leaves)
{
	struct ethernet *ethernet = data;
	struct vlan *vlan;
	u32 at = sizeof(*ethernet), tags;
	u16 kind;

	if ((void *)(ethernet + 1) > end)
		return NOT_IP;
	kind = ethernet->kind;
#pragma unroll
	for (tags = 0; tags < 2; tags++) {
		if (kind != SWAP16(ETH_P_8021Q) && kind != SWAP16(ETH_P_8021AD))
			break;
		vlan = data + at;
		if ((void *)(vlan + 1) > end)
			return NOT_IP;
		kind = vlan->kind;
		at += sizeof(*vlan);
	}
	return parse_ip(p, kind, data, at, end, leaves);
}

/*
 * Why flows has a parser of its own, packet.bpf.h. That one tells what a packet is, this one what it is judged by: ends in
 * the order that the trie's lookups go through, a fragment's id, an echo's id in place of its ports, and ports wherever
 * four bytes of a transport header are there; there such a header is cut. Measured with both in an empty XDP program and
 * all fields in use, medians: IPv4 24 ns here and 29 ns there, IPv6 24 and 27, with two options 33 and 35.
 */
