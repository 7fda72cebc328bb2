/*
 * Heavy hitters: the keys with the greatest sums, in a table of fixed size. After V. Sivaraman et al., "Heavy-Hitter
 * Detection Entirely in the Data Plane" (SOSR 2017). A key has one place in each of a few stages. The first stage takes
 * every newcomer; whom it puts out is carried on, and takes a place from one that is lighter. What is still carried
 * behind the last stage is given up, and counted by its place in the first: no estimate is above the truth, and none is
 * below it by more than what was given up at its place.
 *
 * Each CPU has a table of its own. runtime/src/aggregate/heavy.rs adds up stages and CPUs.
 */
#pragma once

#define STAGES 4

const volatile u32 key_words = 1;   /* of 8 bytes */
const volatile u32 stage_slots = 1; /* of each stage */

struct slot {
	u64 weight; /* 0: free */
	u64 key[];
};

/* What was given up stands behind the stages, in as many slots as one of them has. The first says who is at work. */
struct given_up {
	u64 weight;
	u64 busy;
};

/* The compiler must leave the index as it is: by it the verifier sees where the key ends. */
#define FOR_WORDS(i, words)                                                                                            \
	_Pragma("clang loop unroll(disable)")                                                                          \
	for (u32 i = 0; ({ asm volatile("" : "+r"(i)); i < KEY_LONGEST / 8 && i < words; }); i++)

static __always_inline u64 hash_of(const u64 *key, u32 words)
{
	u64 hash = 0;

	FOR_WORDS(i, words) {
		hash = (hash ^ key[i]) * 0x9e3779b97f4a7c15ULL; /* 2^64 divided by the golden ratio */
		hash ^= hash >> 32;
	}
	return hash;
}

/* Each stage goes by other bits of the hash, and divides by nothing. */
static __always_inline u32 place_of(u64 hash, u32 stage)
{
	u32 turn = 16 * stage % 64;
	u32 bits = (hash << turn | hash >> (64 - turn) % 64) >> 32;

	return stage * stage_slots + ((u64)bits * stage_slots >> 32);
}

static __always_inline bool is_of(const struct slot *slot, const u64 *key, u32 words)
{
	u64 difference = 0;

	FOR_WORDS(i, words)
		difference |= slot->key[i] ^ key[i];
	return !difference;
}

/* Puts a key with its weight into a slot, and takes out what was there. */
static __always_inline u64 exchange(struct slot *slot, u64 *key, u32 words, u64 weight)
{
	u64 before = slot->weight;

	slot->weight = weight;
	FOR_WORDS(i, words) {
		u64 word = slot->key[i];

		slot->key[i] = key[i];
		key[i] = word;
	}
	return before;
}

static __always_inline void give_up(u64 hash, u64 weight)
{
	u32 place = place_of(hash, STAGES);
	struct given_up *slot = bpf_map_lookup_elem(&aggregate, &place);

	if (slot)
		slot->weight += weight;
}

/* Takes a weight through the stages, or what it put out. */
static __always_inline void carry(u64 *key, u64 hash, u64 weight, u32 words)
{
#pragma clang loop unroll(disable)
	for (u32 stage = 0; stage < STAGES; stage++) {
		u32 place = place_of(hash, stage);
		struct slot *slot = bpf_map_lookup_elem(&aggregate, &place);

		if (!slot)
			break;
		if (is_of(slot, key, words)) {
			slot->weight += weight;
			return;
		}
		if (stage && slot->weight >= weight)
			continue;
		weight = exchange(slot, key, words, weight);
		if (!weight)
			return;
		hash = hash_of(key, words);
	}
	give_up(hash, weight);
}

/* A function of its own: what it keeps on the stack is not added to what slots keep there. */
static __noinline int add_heavy(u64 *key, u64 weight)
{
	u32 words = key_words, behind = STAGES * stage_slots;
	struct given_up *first = bpf_map_lookup_elem(&aggregate, &behind);
	u64 hash = hash_of(key, words);

	if (!first)
		return 0;
	/* Whoever interrupts another one's walk would meet half a key. */
	if (first->busy) {
		give_up(hash, weight);
		return 0;
	}
	first->busy = 1;
	carry(key, hash, weight, words);
	first->busy = 0;
	return 0;
}
