// tls_hello: how TLS connections begin: who is asked for, what is offered, what is chosen. Linux 5.10+ with BTF.
//
// Nothing is decrypted: these messages pass in the clear. The client's may be longer than a segment; then what is in its
// first one is seen, and the event says so. A server that asks for another hello is waited for.
#include "exchange.bpf.h"

PARAM(u16, port, 0, "port of the servers; 0 = any");

#define SNI 128
#define ALPN 16

struct event {
	FIELD(u64, elapsed, "ns", "from the client's hello until the server's");
	ENDS;
	FIELD(u8, alert, "tls_alert", "what the server says instead: handshake_failure, unrecognized_name, …");
	FIELD(u16, version, "tls_version", "that the server chose: TLSv1.2, TLSv1.3");
	FIELD(u16, offered, "tls_version", "the highest that the client offers");
	FIELD(u16, legacy, "tls_version", "what the client's hello says for old servers");
	FIELD(u16, cipher, "tls_cipher", "that the server chose");
	FIELD(u16, ciphers, "", "how many the client offers");
	FIELD(bool, partial, "", "only a part of the client's hello was seen");
	FIELD_TEXT(alpn, ALPN, "first protocol that the client offers: h2, http/1.1, …");
	FIELD_TEXT(sni, SNI, "name of the server that is asked for; cut after 127 bytes; empty = none, or not seen");
};
EXCHANGES(8192)

enum { ALERT = 21, HANDSHAKE = 22 };
enum { CLIENT_HELLO = 1, SERVER_HELLO = 2 };
enum { SERVER_NAME = 0, PROTOCOLS = 16, VERSIONS = 43 };

/* A record, and the message that it begins with. */
struct hello {
	u8 content;
	u8 version[2];
	u8 record_length[2];
	u8 message; /* an alert's level */
	u8 length[3]; /* [0]: an alert's reason */
	u8 legacy[2];
	u8 random[32];
	u8 session; /* length of what follows */
} __attribute__((packed));

/* What a ServerHello has in place of its random number if it asks for another hello: the first bytes. RFC 8446, 4.1.3 */
#define ASKS_AGAIN 0x11619ae574ad21cfULL

static __always_inline u16 pair(const u8 *bytes) { return bytes[0] << 8 | bytes[1]; }

static __always_inline u16 load16(struct __sk_buff *skb, u32 at)
{
	u16 pair = 0;

	bpf_skb_load_bytes(skb, at, &pair, sizeof(pair));
	return swapped16(pair);
}

/* A text of `length` bytes; what the segment has not got stays 0. */
static __always_inline void read_text(struct __sk_buff *skb, u32 at, u32 length, u32 *room, char *to, u32 size)
{
	length = forgotten(room, length);
	if (length > size - 1)
		length = size - 1;
	asm volatile("" : "+r"(length));
	if (length && length < size)
		bpf_skb_load_bytes(skb, at, to, length);
}

/* The highest of a list of versions; those that keep servers used to the unknown (RFC 8701) are left out. */
static __always_inline u16 highest_version(struct __sk_buff *skb, u32 at, u32 bytes)
{
	u16 highest = 0;

	for (u32 n = 0; n < 16; n += 2) {
		u16 version;

		if (n >= bytes)
			break;
		version = load16(skb, at + n);
		if ((version & 0x0f0f) != 0x0a0a && version > highest)
			highest = version;
	}
	return highest;
}

/* Goes through extensions from `at` on. Of a server's, only the version is of interest. */
static __always_inline void read_extensions(struct __sk_buff *skb, u32 at, u32 end, bool of_server, struct exchange *x)
{
	struct event *e = &x->event;

	for (int n = 0; n < 32; n++) {
		u8 head[9] = {}; /* type, length, and what the three begin with */
		u32 length;

		at = forgotten(&x->number, at);
		if (at + 4 > end || bpf_skb_load_bytes(skb, at, head, 4))
			break;
		length = pair(head + 2);
		switch (pair(head)) {
		case VERSIONS:
			if (of_server)
				e->version = load16(skb, at + 4);
			else
				e->offered = highest_version(skb, at + 5, length - 1);
			break;
		case SERVER_NAME: /* list's length, type, length */
			if (!of_server && !bpf_skb_load_bytes(skb, at, head, 9) && !head[6])
				read_text(skb, at + 9, pair(head + 7), &x->number, e->sni, SNI);
			break;
		case PROTOCOLS: /* list's length, length */
			if (!of_server && !bpf_skb_load_bytes(skb, at, head, 7))
				read_text(skb, at + 7, head[6], &x->number, e->alpn, ALPN);
			break;
		}
		at = forgotten(&x->number, at) + 4 + length;
	}
}

static __always_inline int client_says(struct __sk_buff *skb, struct payload *p, struct ends *ends, struct hello *h)
{
	struct exchange *x = bpf_map_lookup_elem(&exchanges, ends);
	u32 at = p->at + sizeof(*h) + h->session, end = p->end, ciphers;
	u8 compressions = 0;

	/* Sent again, or the second that the server asked for. Far away: a new connection. */
	if (x && x->since && p->sequence - x->sequence < 1 << 20)
		return 0;
	x = begin(ends);
	if (!x)
		return 0;
	x->sequence = p->sequence;
	x->event.legacy = x->event.offered = pair(h->legacy);
	x->event.partial = p->at + 5 + pair(h->record_length) > end;
	ciphers = load16(skb, at);
	x->event.ciphers = ciphers / 2;
	at = forgotten(&x->number, at + 2 + ciphers);
	bpf_skb_load_bytes(skb, at, &compressions, 1);
	at += 1 + compressions;
	read_extensions(skb, at + 2, forgotten(&x->number, end), false, x);
	x->since = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int server_says(struct __sk_buff *skb, struct payload *p, struct ends *ends, struct hello *h)
{
	struct exchange *x = bpf_map_lookup_elem(&exchanges, ends);
	u32 at = p->at + sizeof(*h) + h->session;
	u64 random;

	if (!x || !x->since) /* begun before we attached, evicted, or an alert of later */
		return h->content == HANDSHAKE ? unmatched() : 0;
	if (h->content == ALERT) {
		x->event.alert = h->length[0];
		return finish(skb, ends, x);
	}
	__builtin_memcpy(&random, h->random, sizeof(random));
	if (random == ASKS_AGAIN)
		return 0;
	x->event.version = pair(h->legacy);
	x->event.cipher = load16(skb, at);
	if (WANT(version)) /* cipher, compression, length of all extensions */
		read_extensions(skb, at + 5, forgotten(&x->number, p->end), true, x);
	return finish(skb, ends, x);
}

static __always_inline int heard(struct __sk_buff *skb, u32 network, bool leaves)
{
	struct hello h = {};
	struct payload p;
	struct ends ends;
	bool answers;

	if (!find_payload(skb, network, leaves, &p) || p.protocol != TCP || bpf_skb_load_bytes(skb, p.at, &h, 7) ||
	    h.version[0] != 3)
		return 0;
	if (h.content == HANDSHAKE) {
		answers = h.message == SERVER_HELLO;
		if ((!answers && h.message != CLIENT_HELLO) || bpf_skb_load_bytes(skb, p.at, &h, sizeof(h)))
			return 0;
	} else if (h.content == ALERT && pair(h.record_length) == 2) {
		answers = true; /* only those that wait for an answer are looked at */
	} else {
		return 0;
	}
	if (port && (answers ? p.from : p.to) != port)
		return 0;
	find_ends(skb, &p, answers, &ends);
	return answers ? server_says(skb, &p, &ends, &h) : client_says(skb, &p, &ends, &h);
}

EXCHANGE_PROGRAMS(heard)
TEMPLATE_ABOUT_OTHERS("how TLS connections begin: server names, versions, ciphers, and how long until the answer");
