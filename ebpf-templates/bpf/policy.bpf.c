// policy: judges packets by rules, at XDP, tc and control groups; tables are compiled by the runtime. Linux 5.10+ with BTF.
//
// Everything is loaded once for each direction. What changes while packets flow is in `control` (how long denials are
// enforced) or is exchanged with the whole program (the tables). Connections and counters outlive that.
#include "lookup.bpf.h"
#include "tracking.bpf.h"

/* The runtime sets these. */
const volatile bool leaves = false; /* packets leave the endpoint */
const volatile bool tracks = false; /* replies pass */
const volatile bool samples = false;
const volatile bool passing = false; /* of what passes, too */
const volatile bool limits = false; /* some rule has a rate */
/* Something depends on what is above IP. Elsewhere that is read where it is shown only, and fragments are like all others. */
const volatile bool asks_ports = false;
const volatile u32 otherwise = 0;   /* the verdict on what is not understood */

/* Denials are enforced until then (CLOCK_MONOTONIC, ns); behind that they are counted, and pass. */
struct control {
	u64 enforced_until;
};
TABLE(settings, struct control);
#define FOR_EVER (~0ULL)

/* By rule and direction. The first ones are no rule's: what none matches, and these, of both directions in turn. */
enum outcome { PASSED, DROPPED, WOULD_DROP, REFUSED, OUTCOMES };
enum { REPLIES = 1, NEVER_DROPPED = 2 };
#define FIXED(number) (2 * (number) + leaves)
struct count {
	u64 packets;
	u64 bytes;
};
struct counts {
	struct count of[OUTCOMES];
	u64 sampled; /* the tick of the latest sample */
	u64 checked; /* twice that of the latest look at the time; 1 more if denials were enforced then */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counts);
} counters SEC(".maps");

/* By rule: a packet each `interval`, and so many at once as fit into `span`; `next` is when the next one is due. */
struct rate {
	u64 interval;
	u64 span;
	u64 next;
};
TABLE(rates, struct rate);

/* What befell a packet whose later fragments carry no ports. */
struct fragment {
	u64 peer[2];
	u64 own[2];
	u32 id;
	u8 protocol;
	u8 leaves;
	u16 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct fragment);
	__type(value, u32);
} fragments SEC(".maps");

/* A denial, for the report, or what begins and passes: of each rule at most one a tick of the clock on each CPU. */
struct sample {
	u64 time;
	u64 peer[2];
	u64 own[2];
	u32 verdict;
	u32 length;
	u16 peer_port;
	u16 own_port;
	u16 port;
	u8 protocol;
	u8 leaves;
	u8 is_v6;
	u8 outcome;
	u8 has_port;
	u8 flags; /* of TCP */
	u8 pad[4];
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} denials SEC(".maps");

static __always_inline void add(struct counts *counts, enum outcome outcome, u32 bytes)
{
	counts->of[outcome].packets++;
	counts->of[outcome].bytes += bytes;
}

static __always_inline struct counts *count(u32 index, enum outcome outcome, u32 bytes)
{
	struct counts *counts = bpf_map_lookup_elem(&counters, &index);

	if (counts)
		add(counts, outcome, bytes);
	return counts;
}

/* The time is looked at once a tick, no finer than the coarse clock goes. */
static __always_inline bool is_enforced(struct counts *counts)
{
	u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&settings, &zero);
	u64 until = control ? control->enforced_until : 0, tick;

	if (!until || until == FOR_EVER)
		return until;
	tick = bpf_jiffies64() << 1;
	if ((counts->checked & ~1ULL) != tick)
		counts->checked = tick | (now_ns() < until);
	return counts->checked & 1;
}

/* Without these a host is off its network whatever the rules say: neighbours, routers, DHCP. ARP is not even looked at. */
static __always_inline bool is_essential(const struct packet *p)
{
	if (!p->has_port)
		return false;
	if (p->protocol == ICMPV6)
		return p->is_v6 && p->port >= 133 && p->port <= 136;
	if (p->protocol != UDP)
		return false;
	if (p->is_v6)
		return (p->own_port == 546 && p->peer_port == 547) || (p->own_port == 547 && p->peer_port == 546);
	return (p->own_port == 68 && p->peer_port == 67) || (p->own_port == 67 && p->peer_port == 68);
}

static __always_inline bool is_due(struct counts *counts)
{
	u64 tick = bpf_jiffies64();

	if (counts->sampled == tick)
		return false;
	counts->sampled = tick;
	return true;
}

static __always_inline void sample(const struct packet *p, u32 verdict, enum outcome outcome)
{
	struct sample *record = bpf_ringbuf_reserve(&denials, sizeof(*record), 0);

	if (!record)
		return;
	*record = (struct sample){
		.time = now_ns(),
		.peer = { p->peer[0], p->peer[1] },
		.own = { p->own[0], p->own[1] },
		.verdict = verdict,
		.length = p->length,
		.peer_port = p->peer_port,
		.own_port = p->own_port,
		.port = p->port,
		.protocol = p->protocol,
		.leaves = leaves,
		.is_v6 = p->is_v6,
		.outcome = outcome,
		.has_port = p->has_port,
		.flags = p->flags,
	};
	bpf_ringbuf_submit(record, 0);
}

/* Says whether the packet passes all the same. */
static __always_inline bool refuse(struct packet *p, u32 verdict, void *data, void *end)
{
	struct counts *counts;
	enum outcome outcome;
	u32 rule = verdict >> 2;

	if (p->protocol == UDP || p->protocol == ICMPV6) {
		if (!asks_ports)
			parse_transport(p, data, end, leaves);
		if (is_essential(p)) {
			count(FIXED(NEVER_DROPPED), PASSED, p->length);
			return true;
		}
	}
	counts = bpf_map_lookup_elem(&counters, &rule);
	if (!counts)
		return true;
	outcome = is_enforced(counts) ? DROPPED : WOULD_DROP;
	add(counts, outcome, p->length);
	if (samples && is_due(counts)) {
		if (!asks_ports && !p->has_port)
			parse_transport(p, data, end, leaves);
		sample(p, verdict, outcome);
	}
	return outcome != DROPPED;
}

/*
 * Is a packet beyond its rule's rate? GCRA, without a lock: packets that come on several CPUs in the same moment may pass
 * one each. Linux 5.10 has no compare-and-exchange for programs.
 */
static __always_inline bool is_beyond(u32 rule)
{
	struct rate *rate = bpf_map_lookup_elem(&rates, &rule);
	u64 now, next;

	if (!rate)
		return false;
	now = bpf_ktime_get_ns();
	next = rate->next > now ? rate->next : now;
	if (next + rate->interval > now + rate->span)
		return true;
	rate->next = next + rate->interval;
	return false;
}

/* What befell the packet that a later fragment belongs to, which alone has ports. */
static __always_inline void fragment_of(struct fragment *key, const struct packet *p)
{
	*key = (struct fragment){
		.peer = { p->peer[0], p->peer[1] },
		.own = { p->own[0], p->own[1] },
		.id = p->fragment,
		.protocol = p->protocol,
		.leaves = leaves,
	};
}

static __always_inline bool follows_its_first(const struct packet *p)
{
	struct fragment key;
	u32 *passed;

	fragment_of(&key, p);
	passed = bpf_map_lookup_elem(&fragments, &key);
	return passed && *passed;
}

static __always_inline void remember_first(const struct packet *p, u32 passes)
{
	struct fragment key;

	fragment_of(&key, p);
	bpf_map_update_elem(&fragments, &key, &passes, BPF_ANY);
}

/* The rules, and what is done. */
static __always_inline bool judged(struct packet *p, enum parsed parsed, bool goes_on, void *data, void *end)
{
	u32 verdict = otherwise;
	struct counts *counts;

	if (parsed == UNDERSTOOD)
		verdict = judge(p->peer[0], p->peer[1], service(p->protocol, p->port, p->has_port, p->is_v6));
	if (verdict & DENY || (limits && verdict & LIMITED && is_beyond(verdict >> 2)))
		return refuse(p, verdict, data, end);
	counts = count(verdict >> 2, PASSED, p->length);
	if (passing && !goes_on && counts && is_due(counts))
		sample(p, verdict, PASSED);
	return true;
}

static __always_inline bool passes(struct packet *p, enum parsed parsed, void *data, void *end)
{
	struct connection key;
	struct state *known = 0;
	bool follows = asks_ports && p->is_later_fragment && follows_its_first(p), passes;
	u64 now = 0;

	if (parsed == NOT_IP)
		return true;
	if (asks_ports && parsed == UNDERSTOOD)
		parse_transport(p, data, end, leaves);
	if (tracks && parsed == UNDERSTOOD && !follows && !p->is_later_fragment) {
		if (is_error(p)) {
			follows = is_related(p, data, end, leaves);
		} else {
			connection_of(&key, p);
			known = bpf_map_lookup_elem(&connections, &key);
			now = now_ns();
			follows = known && is_reply(known, p, now, leaves);
		}
	}
	if (follows) {
		count(FIXED(REPLIES), PASSED, p->length);
		passes = true;
	} else {
		passes = judged(p, parsed, known, data, end);
		if (now)
			keep(&key, known, p, passes, now, leaves);
	}
	if (asks_ports && p->begins_fragments)
		remember_first(p, passes);
	return passes;
}

enum at_once { DROPS, PASSES, NEEDS_MORE };

/* DHCP's, which may be essential. */
static __always_inline bool is_plain_datagram(u16 *ports, void *end)
{
	u16 port;

	if ((void *)(ports + 2) > end)
		return false;
	port = SWAP16(ports[1]);
	return port != 67 && port != 68 && port != 546 && port != 547;
}

/*
 * Most packets where nothing depends on what is above IP: what they are judged by has its fixed place. passes() comes to
 * the same of them, in more time, and knows the others: those with options or tags, what may be essential, what is shown.
 */
static __always_inline enum at_once judged_at_once(void *at, u16 kind, void *end)
{
	u64 address[2] = {};
	struct counts *counts;
	u32 verdict, rule, length;
	bool is_v6 = kind == SWAP16(ETH_P_IPV6);
	enum outcome outcome = PASSED;
	u16 *above;
	u8 protocol;

	if (is_v6) {
		struct ipv6 *ip = at;

		if ((void *)(ip + 1) > end || *(u8 *)at >> 4 != 6)
			return NEEDS_MORE;
		protocol = ip->next;
		if (protocol != TCP && protocol != UDP)
			return NEEDS_MORE;
		address_v6(address, leaves ? ip->destination : ip->source);
		length = SWAP16(ip->length) + sizeof(*ip);
		above = (void *)(ip + 1);
	} else {
		struct ipv4 *ip = at;

		if (kind != SWAP16(ETH_P_IP) || (void *)(ip + 1) > end || *(u8 *)at != 0x45)
			return NEEDS_MORE;
		protocol = ip->protocol;
		address[0] = (u64)SWAP32(leaves ? ip->destination : ip->source) << 32;
		length = SWAP16(ip->total);
		above = (void *)(ip + 1);
	}
	verdict = judge(address[0], address[1], service(protocol, 0, false, is_v6));
	rule = verdict >> 2;
	counts = bpf_map_lookup_elem(&counters, &rule);
	if (!counts)
		return NEEDS_MORE;
	if (verdict & DENY) {
		if (samples && counts->sampled != bpf_jiffies64())
			return NEEDS_MORE;
		if (protocol == UDP && !is_plain_datagram(above, end))
			return NEEDS_MORE;
		outcome = is_enforced(counts) ? DROPPED : WOULD_DROP;
	}
	add(counts, outcome, length);
	return outcome == DROPPED ? DROPS : PASSES;
}

/* The same of a frame. */
static __always_inline enum at_once frame_judged_at_once(void *data, void *end)
{
	struct ethernet *ethernet = data;

	if (asks_ports || (void *)(ethernet + 1) > end)
		return NEEDS_MORE;
	return judged_at_once(ethernet + 1, ethernet->kind, end);
}

struct xdp_md {
	u32 data;
	u32 data_end;
};
enum { XDP_DROP = 1, XDP_PASS = 2 };

SEC("xdp") int policy_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	enum at_once done = frame_judged_at_once(data, end);
	struct packet p = {};
	enum parsed parsed;

	if (done != NEEDS_MORE)
		return done == PASSES ? XDP_PASS : XDP_DROP;
	parsed = parse_ethernet(&p, data, end, false);
	return passes(&p, parsed, data, end) ? XDP_PASS : XDP_DROP;
}

struct __sk_buff {
	u32 len;
	u32 pkt_type;
	u32 mark;
	u32 queue_mapping;
	u32 protocol;
	u32 others[14];
	u32 data;
	u32 data_end;
};
enum { TC_NEXT = -1, TC_DROP = 2 };
/* No header that is looked at lies further back. */
#define HEADERS 128

SEC("classifier") int policy_tc(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	enum parsed parsed;
	enum at_once done;

	if (data + HEADERS > end && ctx->len > end - data) {
		bpf_skb_pull_data(ctx, ctx->len < HEADERS ? ctx->len : HEADERS);
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
	}
	done = frame_judged_at_once(data, end);
	if (done != NEEDS_MORE)
		return done == PASSES ? TC_NEXT : TC_DROP;
	parsed = parse_ethernet(&p, data, end, leaves);
	return passes(&p, parsed, data, end) ? TC_NEXT : TC_DROP;
}

/* Begins with the IP header. */
static __always_inline int cgroup(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	enum at_once done = asks_ports ? NEEDS_MORE : judged_at_once(data, ctx->protocol, end);
	struct packet p = {};
	enum parsed parsed;

	if (done != NEEDS_MORE)
		return done == PASSES;
	parsed = parse_ip(&p, ctx->protocol, data, 0, end, leaves);
	return passes(&p, parsed, data, end);
}

SEC("cgroup_skb/ingress") int policy_in(struct __sk_buff *ctx) { return cgroup(ctx); }
SEC("cgroup_skb/egress") int policy_out(struct __sk_buff *ctx) { return cgroup(ctx); }

struct bpf_sock_addr {
	u32 user_family;
	u32 user_ip4;
	u32 user_ip6[4];
	u32 user_port;
	u32 family;
	u32 type;
	u32 protocol;
};

/*
 * A call that names its peer fails at once where its packets would be dropped one by one. Counted where it fails only:
 * packets count themselves. What may be a reply (a datagram of a server that keeps no connections) is left to them, and so
 * is what has no ports.
 */
static __always_inline int call(u64 high, u64 low, bool is_v6, u8 protocol, u32 port)
{
	struct counts *counts;
	u32 verdict, rule;

	if (protocol != TCP && protocol != SCTP && (protocol != UDP || tracks))
		return 1;
	verdict = judge(high, low, service(protocol, SWAP16((u16)port), true, is_v6));
	rule = verdict >> 2;
	counts = bpf_map_lookup_elem(&counters, &rule);
	if (!(verdict & DENY) || !counts || !is_enforced(counts))
		return 1;
	add(counts, REFUSED, 0);
	if (samples && is_due(counts)) {
		/* Where it would have come from, nobody has decided yet. */
		struct packet p = { .peer = { high, low }, .protocol = protocol, .is_v6 = is_v6, .has_port = true };

		p.peer_port = p.port = SWAP16((u16)port);
		sample(&p, verdict, REFUSED);
	}
	return 0;
}

static __always_inline int call_v4(struct bpf_sock_addr *ctx)
{
	return call((u64)SWAP32(ctx->user_ip4) << 32, 0, false, ctx->protocol, ctx->user_port);
}

static __always_inline int call_v6(struct bpf_sock_addr *ctx)
{
	u64 high = (u64)SWAP32(ctx->user_ip6[0]) << 32 | SWAP32(ctx->user_ip6[1]);
	u64 low = (u64)SWAP32(ctx->user_ip6[2]) << 32 | SWAP32(ctx->user_ip6[3]);

	/* ::ffff:10.0.0.1 is IPv4 on the wire. */
	if (!high && low >> 32 == 0xffff)
		return call(low << 32, 0, false, ctx->protocol, ctx->user_port);
	return call(high, low, true, ctx->protocol, ctx->user_port);
}

SEC("cgroup/connect4") int policy_connect4(struct bpf_sock_addr *ctx) { return call_v4(ctx); }
SEC("cgroup/connect6") int policy_connect6(struct bpf_sock_addr *ctx) { return call_v6(ctx); }
SEC("cgroup/sendmsg4") int policy_sendmsg4(struct bpf_sock_addr *ctx) { return call_v4(ctx); }
SEC("cgroup/sendmsg6") int policy_sendmsg6(struct bpf_sock_addr *ctx) { return call_v6(ctx); }

char LICENSE[] SEC("license") __attribute__((btf_decl_tag("doc:judges packets by rules; part of skep policy"))) = "Dual MIT/GPL";
