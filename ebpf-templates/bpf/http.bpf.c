// http: requests of HTTP/1.0 and 1.1 with the head of their responses, as they pass in the clear. Linux 5.10+ with BTF.
//
// A request and its response belong together by their connection. Not seen: what TLS hides, HTTP/2, a request line behind
// the first segment of its request. A request that is sent before the last one's response came counts as nested.
#include "exchange.bpf.h"

PARAM(u16, port, 0, "port of the servers; 0 = any");
PARAM(bool, query, false, "paths with what follows their ?, which is cut off otherwise: it may be private");

#define PATH 128
#define HOST 64
#define HEAD 512 /* so far headers are looked for */
#define CHUNK 64

struct event {
	FIELD(u64, elapsed, "ns", "from the first byte of the request until that of the response");
	FIELD(u64, length, "bytes", "of the response's body, as its head says; 0 = it does not");
	ENDS;
	FIELD(u8, method, "http_method", "GET, POST, …");
	FIELD(u16, status, "", "of the response: 200, 404, …");
	FIELD(u32, sent, "bytes", "of the request, its head included, by the time of the response");
	FIELD_TEXT(path, PATH, "what was asked for; cut after 127 bytes, and at its ?");
	FIELD_TEXT(host, HOST, "whom, as the request says; empty where that is not in its first 512 bytes");
};
EXCHANGES(8192)

enum method { GET = 1, HEAD_ONLY, POST, PUT, DELETE, OPTIONS, PATCH, CONNECT, TRACE };

/* The first bytes of a segment are eight, in the order of memory. */
#define BEGINS(first, text) (((first) ^ *(const u64 *)text "\0\0\0\0\0\0\0") << (64 - 8 * (sizeof(text) - 1)) == 0)

/* The method that a request begins with, and the bytes before its path; 0: this is no request. */
static __always_inline u8 method_of(u64 first, u32 *before)
{
#define METHOD(text, number)                                                                                           \
	if (BEGINS(first, text " ")) {                                                                                 \
		*before = sizeof(text);                                                                                \
		return number;                                                                                         \
	}
	METHOD("GET", GET)
	METHOD("POST", POST)
	METHOD("HEAD", HEAD_ONLY)
	METHOD("PUT", PUT)
	METHOD("DELETE", DELETE)
	METHOD("PATCH", PATCH)
	METHOD("TRACE", TRACE)
	*before = 8;
	return BEGINS(first, "OPTIONS ") ? OPTIONS : BEGINS(first, "CONNECT ") ? CONNECT : 0;
}

/* Reads as much as there is, and leaves the last byte 0. */
static __always_inline void read_text(struct __sk_buff *skb, u32 at, u32 end, char *to, u32 size)
{
	u32 length = end - at;

	if (at >= end)
		return;
	if (length > size - 1)
		length = size - 1;
	/* For the verifier, which sees numbers and not what they come from. */
	asm volatile("" : "+r"(length));
	if (length && length < size)
		bpf_skb_load_bytes(skb, at, to, length);
}

/* Ends a text at its first blank or end of line, or where its query begins. */
static __always_inline void cut(char *text, u32 size, bool at_query)
{
	bool inside = true;

	for (u32 n = 0; n < size; n++) {
		char c = text[n];

		if (c == ' ' || c == '\r' || c == '\n' || (at_query && c == '?'))
			inside = false;
		if (!inside)
			text[n] = 0;
	}
}

/* The sixteen bytes that a header line begins with, in small letters; those behind the colon are masked out. */
#define SMALL 0x2020202020202020ULL
struct header {
	u64 begin;
	u64 begin_mask;
	u64 end;
	u64 end_mask;
};
#define HOST_HEADER ((struct header){ 0x3a74736f68ULL /* host: */, (1ULL << 40) - 1, 0, 0 })
#define LENGTH_HEADER                                                                                                  \
	((struct header){ 0x2d746e65746e6f63ULL /* content- */, ~0ULL, 0x3a6874676e656cULL /* length: */, (1ULL << 56) - 1 })

/* Reads the value of a header, if it is there. */
static __always_inline void read_header(struct __sk_buff *skb, struct payload *p, struct header wanted, u32 *room, char *to,
					u32 size)
{
	u32 at = forgotten(room, p->at), end = forgotten(room, p->end), found = end;
	u32 name = wanted.end_mask ? 15 : 5;

	for (u32 from = 0; from < HEAD; from += CHUNK) {
		u8 chunk[CHUNK] = {};
		u32 length = end - at - from;

		if (at + from >= end)
			break;
		if (length > CHUNK)
			length = CHUNK;
		asm volatile("" : "+r"(length));
		if (!length || length > CHUNK || bpf_skb_load_bytes(skb, at + from, chunk, length))
			break;
		for (u32 n = 0; n < CHUNK; n++) {
			u64 line[2] = {};

			if (chunk[n] != '\n')
				continue;
			/* Behind an empty line the body begins. */
			if (bpf_skb_load_bytes(skb, at + from + n + 1, line, name) || (line[0] & 0xff) == '\r')
				goto out;
			if (((line[0] | SMALL) & wanted.begin_mask) == wanted.begin &&
			    ((line[1] | SMALL) & wanted.end_mask) == wanted.end) {
				found = at + from + n + 1 + name;
				goto out;
			}
		}
	}
out:
	for (int blanks = 0; blanks < 2; blanks++) {
		u8 next = 0;

		found = forgotten(room, found);
		if (bpf_skb_load_bytes(skb, found, &next, 1) || next != ' ')
			break;
		found++;
	}
	read_text(skb, forgotten(room, found), end, to, size);
}

static __always_inline void add_digits(const char *digits, u32 size, volatile u64 *number)
{
	for (u32 n = 0; n < size; n++) {
		u8 digit = digits[n] - '0';

		if (digits[n] == ' ')
			continue;
		if (digit > 9)
			break;
		*number = *number * 10 + digit;
	}
}

static __always_inline int requested(struct __sk_buff *skb, struct payload *p, struct ends *ends, u8 method, u32 before)
{
	struct exchange *x = bpf_map_lookup_elem(&exchanges, ends);

	if (x && x->since && p->sequence - x->sequence < 1 << 20)
		/* The same once more, or another before its response. Far away: a new connection. */
		return p->sequence == x->sequence ? 0 : nested();
	x = begin(ends);
	if (!x)
		return 0;
	x->sequence = p->sequence;
	x->event.method = method;
	if (WANT(path)) {
		read_text(skb, p->at + before, p->end, x->event.path, PATH);
		cut(x->event.path, PATH, !query);
	}
	if (WANT(host)) {
		read_header(skb, p, HOST_HEADER, &x->number, x->event.host, HOST);
		cut(x->event.host, HOST, false);
	}
	x->since = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int responded(struct __sk_buff *skb, struct payload *p, struct ends *ends)
{
	struct exchange *x = bpf_map_lookup_elem(&exchanges, ends);
	char code[4] = {}, digits[16] = {};
	u16 status;

	if (bpf_skb_load_bytes(skb, p->at + sizeof("HTTP/1.1 ") - 1, code, 3))
		return 0;
	status = (code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0');
	if (status < 200 && status != 101) /* the real one follows */
		return 0;
	if (!x || !x->since) /* begun before we attached, evicted, or pipelined */
		return unmatched();
	x->event.status = status;
	x->event.sent = p->acknowledged - x->sequence;
	if (WANT(length)) {
		read_header(skb, p, LENGTH_HEADER, &x->number, digits, sizeof(digits));
		add_digits(digits, sizeof(digits), &x->event.length);
	}
	return finish(skb, ends, x);
}

static __always_inline int heard(struct __sk_buff *skb, u32 network, bool leaves)
{
	struct payload p;
	struct ends ends;
	u32 before = 0;
	bool answers;
	u64 first;
	u8 method;

	if (!find_payload(skb, network, leaves, &p) || p.protocol != TCP || bpf_skb_load_bytes(skb, p.at, &first, 8))
		return 0;
	answers = BEGINS(first, "HTTP/1.");
	method = answers ? 0 : method_of(first, &before);
	if ((!answers && !method) || (port && (answers ? p.from : p.to) != port))
		return 0;
	find_ends(skb, &p, answers, &ends);
	return answers ? responded(skb, &p, &ends) : requested(skb, &p, &ends, method, before);
}

EXCHANGE_PROGRAMS(heard)
TEMPLATE_ABOUT_OTHERS("requests of HTTP/1 with their status and how long until the response");
