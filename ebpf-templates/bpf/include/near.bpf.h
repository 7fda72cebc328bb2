/*
 * Keys that are kept near: on each CPU, the first that come have places of their own, found without the table's hashing, its
 * walk and its calls. A place holds what was added there beside the table, and is never given to another key. A key
 * comes here when it is in the table, so that the table's room holds. runtime/src/aggregate/near.rs reads both.
 */
#pragma once

#define NEAR_PLACES 64
#define NEAR_WORDS 4

const volatile u32 near_words = NEAR_WORDS; /* of 8 bytes, that a key has; 0: none is kept near */

/* The runtime clears what it has read: a key without an event since then is not shown. */
enum { FREE, CLEARED, USED };

struct place {
	u64 state;
	u64 key[NEAR_WORDS];
	u64 cell[4];
};

struct near {
	struct place places[NEAR_PLACES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct near);
} near SEC(".maps");

/* Whose place it is, is decided here: programs may interrupt each other. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, u8);
} near_taken SEC(".maps");

/*
 * From a key's last word to its first; the verifier leaves those that there are. It knows how many only where they were
 * just read.
 */
#define FROM_LAST_WORD(three, two, one, zero)                                                                          \
	switch (near_words) {                                                                                             \
	default: three;                                                                                                \
	case 3: two;                                                                                                   \
	case 2: one;                                                                                                   \
	case 1: zero;                                                                                                  \
	}

/* Words behind a key's last byte are zeros. */
static __always_inline void clear_words(u64 *key)
{
	FROM_LAST_WORD(key[3] = 0, key[2] = 0, key[1] = 0, key[0] = 0)
}

/* Multilinear hashing: the upper bits of a sum of products with odd numbers. */
static __always_inline u32 near_number(const u64 *key)
{
	u64 sum = 0;

	FROM_LAST_WORD(sum += key[3] * 0xaef17502108ef2d9ULL, sum += key[2] * 0x8cb92ba72f3d8dd7ULL,
		  sum += key[1] * 0xd1b54a32d192ed03ULL, sum += key[0] * 0x9e3779b97f4a7c15ULL)
	return sum >> 58;
}

static __always_inline bool is_of_place(const struct place *place, const u64 *key)
{
	u64 difference = !place->state;

	FROM_LAST_WORD(difference |= place->key[3] ^ key[3], difference |= place->key[2] ^ key[2],
		  difference |= place->key[1] ^ key[1], difference |= place->key[0] ^ key[0])
	return !difference;
}

/* What of this event was added to the table stays there. */
static __noinline int keep_near(struct place *place, const u64 *key, u32 number)
{
	u64 which = (u64)bpf_get_smp_processor_id() << 32 | number;
	u8 yes = 1;

	if (bpf_map_update_elem(&near_taken, &which, &yes, BPF_NOEXIST))
		return 0;
	FROM_LAST_WORD(place->key[3] = key[3], place->key[2] = key[2], place->key[1] = key[1],
		  place->key[0] = key[0])
	asm volatile("" : : : "memory");
	place->state = CLEARED;
	return 0;
}
