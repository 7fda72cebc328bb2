/*
 * From a peer, a protocol and a port to a verdict, by the arrays that runtime/src/policy/tables.rs compiles. Two to four
 * reads for a peer, one for its protocol, a binary search among its ports; where less decides, less is read.
 */
#pragma once
#include "helpers.bpf.h"

/* A reference of the trie: an answer, or a node's number. An answer: a verdict, or a row's first cell. */
#define ANSWER (1U << 31)
#define DECIDED (1U << 30)
/* A verdict: what is counted, above these two marks. */
#define DENY 1U
#define LIMITED 2U

/* Which cell of a row a protocol has. */
const volatile u8 columns[256] = {};
/* So many bits of an address index the roots: few where there are few prefixes, so that a packet finds them in the cache. */
const volatile u32 root_bits = 0;

struct node {
	u64 children;
	u64 answers;
	u64 expected;
	u32 child_base;
	u32 answer_base;
	u32 miss;
	u8 from;
	u8 checked;
	u8 at;
	u8 kind;
};

/*
 * Without children: CHOOSES between two answers, `answer_base` and where its bit is set `child_base`; COMPARES the whole
 * address, of which the bits of `answers` count, with `expected` (IPv6: that and `children`), for `answer_base` or `miss`.
 */
enum { BRANCHES, CHOOSES, COMPARES };

struct cell {
	u32 at;
	u32 count;
};

struct port_start {
	u32 first;
	u32 verdict;
};

/* Elements of arrays take multiples of 8 bytes: 16 words fill a cache line. */
#define WORDS 16
struct words {
	u32 word[WORDS];
};

#define TABLE(name, type_)                                                                                             \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                      \
		__uint(max_entries, 1);                                                                                \
		__type(key, u32);                                                                                      \
		__type(value, type_);                                                                                  \
	} name SEC(".maps")

TABLE(roots, struct words);
TABLE(nodes, struct node);
TABLE(answers, struct words);
TABLE(cells, struct cell);
TABLE(ports, struct port_start);

/* What is not there is no rule's: allowed. The tables are complete, so the verifier alone asks. */
#define WORD(table, index)                                                                                             \
	({                                                                                                             \
		u32 index_ = index, block_ = index_ / WORDS;                                                           \
		struct words *words_ = bpf_map_lookup_elem(&table, &block_);                                           \
		words_ ? words_->word[index_ % WORDS] : ANSWER | DECIDED;                                              \
	})

/* BPF has no instruction for it. */
static __always_inline u32 bits_set(u64 word)
{
	word -= (word >> 1) & 0x5555555555555555;
	word = (word & 0x3333333333333333) + ((word >> 2) & 0x3333333333333333);
	word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f;
	return word * 0x0101010101010101 >> 56;
}

/* The 64 bits from bit `from` on. */
static __always_inline u64 window(u64 high, u64 low, u32 from, bool is_v6)
{
	if (!is_v6)
		return high << (from & 63);
	if (from & 64)
		return low << (from & 63);
	return high << (from & 63) | low >> 1 >> (63 - (from & 63));
}

/* IPv6 addresses as two numbers; IPv4 in the upper half of the first. */
static __always_inline u32 find(u64 high, u64 low, bool is_v6)
{
	u32 level, reference = WORD(roots, (is_v6 ? 1U << (root_bits & 31) : 0) | (u32)(high >> 1 >> ((63 - root_bits) & 63)));
	struct node *node;
	u64 entry;

	/* At least 6 bits each. */
	for (level = 0; level < (is_v6 ? 22 : 6); level++) {
		if (reference & ANSWER)
			break;
		node = bpf_map_lookup_elem(&nodes, &reference);
		if (!node)
			return DECIDED;
		if (node->kind == COMPARES) {
			if (is_v6 ? high == node->expected && (low & node->answers) == node->children
				  : (high & node->answers) == node->expected)
				return node->answer_base;
			return node->miss;
		}
		if (window(high, low, node->from, is_v6) >> 1 >> ((63 - node->checked) & 63) != node->expected)
			return node->miss;
		entry = 1ULL << (window(high, low, node->at, is_v6) >> 58);
		if (node->kind == CHOOSES)
			return node->answers & entry ? node->child_base : node->answer_base;
		if (!(node->children & entry))
			return WORD(answers, node->answer_base + bits_set(node->answers & (entry | (entry - 1))) - 1);
		reference = node->child_base + bits_set(node->children & (entry - 1));
	}
	return reference & ~ANSWER;
}

static __always_inline u32 verdict_of_port(u32 at, u32 count, u16 port, bool has_port)
{
	struct port_start *start;
	u32 low = at + 1, high = at + count, step, middle, verdict = 0;

	start = bpf_map_lookup_elem(&ports, &at);
	if (start)
		verdict = start->verdict;
	if (!has_port)
		return verdict;
	/* A port is one of 2^16; the first start is that of port 0. */
	for (step = 0; step < 17 && low < high; step++) {
		middle = low + (high - low) / 2;
		start = bpf_map_lookup_elem(&ports, &middle);
		if (!start)
			break;
		if (start->first <= port) {
			verdict = start->verdict;
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return verdict;
}

/* What a packet is judged by, in one word: 16 bits of port, 8 of protocol, and these. */
#define HAS_PORT (1U << 24)
#define IS_V6 (1U << 25)

/* A global function: the verifier looks at it once, not again for every way in which a packet may come to it. */
__noinline u32 judge(u64 high, u64 low, u32 service)
{
	u32 answer = service & IS_V6 ? find(high, low, true) : find(high, 0, false);
	struct cell *cell;

	if (answer & DECIDED)
		return answer & ~DECIDED;
	answer += columns[service >> 16 & 0xff];
	cell = bpf_map_lookup_elem(&cells, &answer);
	if (!cell)
		return 0;
	return cell->count ? verdict_of_port(cell->at, cell->count, service, service & HAS_PORT) : cell->at;
}

static __always_inline u32 service(u8 protocol, u16 port, bool has_port, bool is_v6)
{
	return port | protocol << 16 | (has_port ? HAS_PORT : 0) | (is_v6 ? IS_V6 : 0);
}
