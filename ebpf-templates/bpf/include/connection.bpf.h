/* Parameters that every template about connections has: which of them it is about. */
#pragma once
#include "skep.bpf.h"
#include "sock.bpf.h"

/* A prefix of addresses: what they must be where the mask has a bit. All zeros: any. */
typedef u8 prefix_t[32] __attribute__((aligned(8)));

PARAM_AS("cidr", prefix_t, address, {}, "only with an address in this prefix at either end, such as 10.0.0.0/8; empty = all");
PARAM(u16, port, 0, "only with this port at either end; 0 = all");
PARAM_AS("netns", u32, netns, 0, "only in this network namespace: its number, or a file such as /proc/PID/ns/net; 0 = all");

static __always_inline bool in_prefix(const u8 *given)
{
	const volatile u64 *mask = (const volatile u64 *)address, *wanted = mask + 2;
	const u64 *words = (const u64 *)given;

	return (words[0] & mask[0]) == wanted[0] && (words[1] & mask[1]) == wanted[1];
}

static __always_inline bool is_any_prefix(void)
{
	const volatile u64 *mask = (const volatile u64 *)address;

	return !mask[0] && !mask[1];
}

/* The two ends as columns of an event. */
#define FIELDS_OF_ENDS(this, other)                                                                                    \
	FIELD(address_t, saddr, "ip", "address " this);                                                                \
	FIELD(address_t, daddr, "ip", "address " other);                                                               \
	FIELD(u16, sport, "", "port " this);                                                                           \
	FIELD(u16, dport, "", "port " other)

/* `e` has saddr, daddr, sport and dport. */
#define CONCERNS_ENDS(e)                                                                                               \
	((!port || (e)->sport == port || (e)->dport == port) &&                                                        \
	 (is_any_prefix() || in_prefix((e)->saddr) || in_prefix((e)->daddr)))
