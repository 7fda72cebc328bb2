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
static __always_inline struct counts *count(u32 index, enum outcome outcome, u32 bytes)
{
	struct counts *counts = bpf_map_lookup_elem(&counters, &index);

	if (counts) {
		counts->of[outcome].packets++;
		counts->of[outcome].bytes += bytes;
	}
	return counts;
}

static __always_inline bool is_enforced(void)
{
	u32 zero = 0;
	struct control *control = bpf_map_lookup_elem(&settings, &zero);
	u64 until = control ? control->enforced_until : 0;

	return until && (until == FOR_EVER || now_ns() < until);
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

static __always_inline void sample(const struct packet *p, u32 verdict, enum outcome outcome, struct counts *counts)
{
	u64 now = bpf_jiffies64();
	struct sample *record;

	if (!counts || counts->sampled == now)
		return;
	counts->sampled = now;
	record = bpf_ringbuf_reserve(&denials, sizeof(*record), 0);
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
static __always_inline bool refuse(const struct packet *p, u32 verdict)
{
	enum outcome outcome;
	struct counts *counts;

	if (is_essential(p)) {
		count(FIXED(NEVER_DROPPED), PASSED, p->length);
		return true;
	}
	outcome = is_enforced() ? DROPPED : WOULD_DROP;
	counts = count(verdict >> 2, outcome, p->length);
	if (samples)
		sample(p, verdict, outcome, counts);
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
static __always_inline bool judged(const struct packet *p, enum parsed parsed, bool goes_on)
{
	u32 verdict = otherwise;
	struct counts *counts;

	if (parsed == UNDERSTOOD)
		verdict = judge(p->peer[0], p->peer[1], service(p->protocol, p->port, p->has_port, p->is_v6));
	if (verdict & DENY || (limits && verdict & LIMITED && is_beyond(verdict >> 2)))
		return refuse(p, verdict);
	counts = count(verdict >> 2, PASSED, p->length);
	if (passing && !goes_on)
		sample(p, verdict, PASSED, counts);
	return true;
}

static __always_inline bool passes(const struct packet *p, enum parsed parsed, void *data, void *end)
{
	struct connection key;
	struct state *known = 0;
	bool follows = p->is_later_fragment && follows_its_first(p), passes;
	u64 now = 0;

	if (parsed == NOT_IP)
		return true;
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
		passes = judged(p, parsed, known);
		if (now)
			keep(&key, known, p, passes, now, leaves);
	}
	if (p->begins_fragments)
		remember_first(p, passes);
	return passes;
}

struct xdp_md {
	u32 data;
	u32 data_end;
};
enum { XDP_DROP = 1, XDP_PASS = 2 };

SEC("xdp") int policy_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	enum parsed parsed = parse_ethernet(&p, data, end, false);

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

	if (data + HEADERS > end && ctx->len > end - data) {
		bpf_skb_pull_data(ctx, ctx->len < HEADERS ? ctx->len : HEADERS);
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
	}
	parsed = parse_ethernet(&p, data, end, leaves);
	return passes(&p, parsed, data, end) ? TC_NEXT : TC_DROP;
}

/* Begins with the IP header. */
static __always_inline int cgroup(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	enum parsed parsed = parse_ip(&p, ctx->protocol, data, 0, end, leaves);

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
	u32 verdict;

	if (protocol != TCP && protocol != SCTP && (protocol != UDP || tracks))
		return 1;
	verdict = judge(high, low, service(protocol, SWAP16((u16)port), true, is_v6));
	if (!(verdict & DENY) || !is_enforced())
		return 1;
	counts = count(verdict >> 2, REFUSED, 0);
	if (samples) {
		/* Where it would have come from, nobody has decided yet. */
		struct packet p = { .peer = { high, low }, .protocol = protocol, .is_v6 = is_v6, .has_port = true };

		p.peer_port = p.port = SWAP16((u16)port);
		sample(&p, verdict, REFUSED, counts);
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
