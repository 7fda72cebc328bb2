// dns: queries of the domain name system with their answers, over UDP and TCP. Linux 5.10+ with BTF.
//
// A query and its answer belong together by their ends and the query's id. A query that is sent again keeps its first time.
// Of TCP, a segment begins a message and has the whole question; of several messages in one segment the first is seen.
#include "exchange.bpf.h"

PARAM(u16, port, 53, "port of the servers");

#define NAME 256 /* the longest there is: 253, and what ends it */
#define QUESTION 12 /* where it begins: behind the header; its name, then four bytes for type and class */

struct event {
	FIELD(u64, elapsed, "ns", "from the first query until its answer");
	FIELD_IP(address, "first address in the answer; :: = none");
	ENDS;
	FIELD(u8, rcode, "dns_rcode", "how it went: NOERROR, NXDOMAIN, …");
	FIELD(u16, qtype, "dns_type", "what was asked for: A, AAAA, …");
	FIELD(u16, answers, "", "number of records in the answer");
	FIELD(u16, retries, "", "how often the query was sent again");
	FIELD(u16, size, "bytes", "of the answer's message");
	FIELD(u8, protocol, "protocol", "UDP or TCP");
	FIELD(bool, truncated, "", "the answer did not fit, and says so");
	u8 _pad[3];
	u8 _first; /* length of the first label, then */
	FIELD_TEXT(name, NAME, "that was asked for, in small letters; what is no letter, digit or sign is a ?");
};
EXCHANGES(8192)

struct message {
	u16 id;
	u8 flags;
	u8 code;
	u16 questions;
	u16 answers;
	u16 authorities;
	u16 additional;
};

/* A record, behind its name. */
struct record_head {
	u16 type;
	u16 class;
	u16 ttl[2];
	u16 length;
} __attribute__((packed));

enum { TYPE_A = 1, TYPE_AAAA = 28 };
enum { IS_ANSWER = 0x80, OPCODE = 0x78, IS_TRUNCATED = 2 };

/* TCP says a message's length in front of it, in the same segment or in one before. */
static __always_inline bool find_message(struct __sk_buff *skb, struct payload *p, struct message *m)
{
	if (p->protocol == TCP) {
		if (bpf_skb_load_bytes(skb, p->at + 2, m, sizeof(*m)))
			return false;
		if (m->questions == swapped16(1) && !(m->flags & OPCODE)) {
			p->at += 2;
			return true;
		}
	}
	return !bpf_skb_load_bytes(skb, p->at, m, sizeof(*m)) && m->questions == swapped16(1) && !(m->flags & OPCODE);
}

/* Bytes of the name, its end included; 0: it is none. */
static __always_inline u32 name_length(struct __sk_buff *skb, u32 at, u32 end)
{
	u32 begin = at;

	for (int labels = 0; labels < 128; labels++) {
		u8 length;

		if (at >= end || bpf_skb_load_bytes(skb, at, &length, 1) || length > 63)
			return 0;
		at += 1 + length;
		if (!length)
			return at - begin < NAME ? at - begin : 0;
	}
	return 0;
}

/* Lengths become dots. */
static __always_inline void read_name(struct __sk_buff *skb, u32 at, struct exchange *x)
{
	struct event *e = &x->event;
	u8 *raw = (u8 *)e + __builtin_offsetof(struct event, _first);
	/* Out of the table: then the verifier does not follow it through all the ways that the labels may have gone. */
	u32 length = *(volatile u32 *)&x->asked, left = 0;

	if (!length || length >= NAME)
		return;
	bpf_skb_load_bytes(skb, at, raw, length);
	if (length == 1)
		e->name[0] = '.';
	for (u32 n = 0; n < NAME - 1; n++) {
		u8 c = raw[n];

		if (n + 1 >= length)
			break;
		if (!left) {
			left = c;
			raw[n] = '.';
			continue;
		}
		left--;
		if (c - 'A' < 26u)
			raw[n] = c + 'a' - 'A';
		else if (c - '!' >= 94u)
			raw[n] = '?';
	}
}

/* The first address among the answer's records, which may begin with other names of the same. */
static __always_inline void find_address(struct __sk_buff *skb, u32 at, u32 records, struct event *e)
{
	/* A step goes over a label, or over a record. */
	for (int steps = 0; steps < 64; steps++) {
		struct record_head head;
		u8 length;

		if (!records || bpf_skb_load_bytes(skb, at, &length, 1))
			return;
		if (length && length < 64) {
			at += 1 + length;
			continue;
		}
		at += length ? 2 : 1; /* the rest of the name stands elsewhere */
		if (bpf_skb_load_bytes(skb, at, &head, sizeof(head)))
			return;
		at += sizeof(head);
		if (head.type == swapped16(TYPE_A) && head.length == swapped16(4)) {
			e->address[10] = e->address[11] = 0xff;
			bpf_skb_load_bytes(skb, at, e->address + 12, 4);
			return;
		}
		if (head.type == swapped16(TYPE_AAAA) && head.length == swapped16(16)) {
			bpf_skb_load_bytes(skb, at, e->address, 16);
			return;
		}
		at += swapped16(head.length);
		records--;
	}
}

static __always_inline int asked(struct __sk_buff *skb, struct payload *p, struct ends *ends)
{
	struct exchange *x = bpf_map_lookup_elem(&exchanges, ends);
	u32 question = p->at + QUESTION, length;

	if (x && x->since) {
		x->event.retries++;
		return 0;
	}
	x = begin(ends);
	if (!x)
		return 0;
	length = name_length(skb, question, p->end);
	x->asked = length;
	if (length) {
		u16 type = 0;

		read_name(skb, question, x);
		bpf_skb_load_bytes(skb, question + length, &type, sizeof(type));
		x->event.qtype = swapped16(type);
	}
	x->since = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int answered(struct __sk_buff *skb, struct payload *p, struct ends *ends, struct message *m)
{
	struct exchange *x = bpf_map_lookup_elem(&exchanges, ends);
	struct event *e;

	if (!x || !x->since) /* asked before we attached, evicted, or answered twice */
		return unmatched();
	e = &x->event;
	e->protocol = p->protocol;
	e->rcode = m->code & 15;
	e->truncated = m->flags & IS_TRUNCATED;
	e->answers = swapped16(m->answers);
	e->size = p->end - p->at;
	if (WANT(address))
		find_address(skb, p->at + QUESTION + x->asked + 4, e->answers, e);
	return finish(skb, ends, x);
}

static __always_inline int heard(struct __sk_buff *skb, u32 network, bool leaves)
{
	struct payload p;
	struct message m;
	struct ends ends;
	bool answers;

	if (!find_payload(skb, network, leaves, &p) || (p.from != port && p.to != port) || !find_message(skb, &p, &m))
		return 0;
	answers = m.flags & IS_ANSWER;
	if ((answers ? p.from : p.to) != port)
		return 0;
	find_ends(skb, &p, answers, &ends);
	ends.id = m.id;
	return answers ? answered(skb, &p, &ends, &m) : asked(skb, &p, &ends);
}

EXCHANGE_PROGRAMS(heard)
TEMPLATE_ABOUT_OTHERS("queries of the domain name system with their answers and how long those take");
