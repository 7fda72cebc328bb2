/* Aggregations in the kernel. The bucket numbering's other half is runtime/src/aggregate/bucket.rs. */
#pragma once
#include "heavy.bpf.h"
#include "near.bpf.h"

static __always_inline u32 log2_floor(u64 v) /* v > 0 */
{
	u32 r = 0, s;

	s = (v > 0xffffffffULL) << 5; v >>= s; r |= s;
	s = (v > 0xffff) << 4; v >>= s; r |= s;
	s = (v > 0xff) << 3; v >>= s; r |= s;
	s = (v > 0xf) << 2; v >>= s; r |= s;
	s = (v > 0x3) << 1; v >>= s; r |= s;
	return r | (v >> 1);
}

/* Powers of two: 0 below zero, 1 zero, k >= 2 [2^(k-2), 2^(k-1)). */
static __always_inline u32 hist_bucket(u64 v)
{
	if (!unsigned_value && (s64)v < 0)
		return 0;
	return v ? log2_floor(v) + 2 : 1;
}

/* Equal steps, with a bucket below and one above. */
static __always_inline u32 lhist_bucket(u64 v)
{
	if (!unsigned_value || !(v >> 63)) {
		if ((s64)v < lhist_min)
			return 0;
		if ((s64)v < lhist_max)
			return 1 + (v - lhist_min) / lhist_step;
	}
	return ((u64)lhist_max - (u64)lhist_min - 1) / lhist_step + 2;
}

/* 64 steps in every power of two: at most 1/64 off. After HdrHistogram. */
static __always_inline u32 quantile_bucket(u64 v)
{
	u32 shift;

	if (!unsigned_value && (s64)v < 0)
		return 0;
	if (v < 128)
		return 1 + v;
	shift = log2_floor(v) - 6;
	return 1 + 64 * (shift + 1) + (u32)(v >> shift) - 64;
}

static __always_inline bool less(u64 a, u64 b)
{
	return unsigned_value ? a < b : (s64)a < (s64)b;
}

/* Zeros for a new cell, as long as the longest. */
static const volatile u64 empty_cell[4];

/* Cells: count [n]; sum [sum]; avg [n, sum]; min, max [n, extreme]; stats [n, sum, min, max]; buckets [n, sum]. */
static __always_inline void add(u64 *cell, u64 value)
{
	switch (output) {
	case COUNT:
		cell[0]++;
		break;
	case SUM:
		cell[0] += value;
		break;
	case AVG:
	case HIST:
	case LHIST:
	case QUANTILES:
		cell[0]++;
		cell[1] += value;
		break;
	case MIN:
		if (!cell[0] || less(value, cell[1]))
			cell[1] = value;
		cell[0]++;
		break;
	case MAX:
		if (!cell[0] || less(cell[1], value))
			cell[1] = value;
		cell[0]++;
		break;
	case STATS:
		if (!cell[0] || less(value, cell[2]))
			cell[2] = value;
		if (!cell[0] || less(cell[3], value))
			cell[3] = value;
		cell[0]++;
		cell[1] += value;
		break;
	}
}

static __always_inline u64 *cell_of(const u64 *key)
{
	u64 *cell = bpf_map_lookup_elem(&aggregate, key);

	if (cell)
		return cell;
	/* Another CPU may insert the same key first: then the update fails and the look-up finds it. */
	bpf_map_update_elem(&aggregate, key, (const void *)empty_cell, BPF_NOEXIST);
	return bpf_map_lookup_elem(&aggregate, key);
}

static __always_inline int aggregate_event(void *ctx, void *event, struct trust *t)
{
	u64 on_stack[KEY_ON_STACK / 8];
	u64 *key = on_stack, *cell;
	struct place *place = 0;
	u32 number = 0;
	u64 value = 0;

	if (wide_key) {
		u32 zero = 0;

		key = bpf_map_lookup_elem(&scratch, &zero);
		if (!key)
			return 0;
	}
	if (output != COUNT)
		value = slot_value(ctx, event);
	key[0] = 0;
	if (near_words)
		clear_words(key);
	if (has_key)
		slot_columns(ctx, event, output >= HIST ? key + 1 : key);
	if (output == HIST)
		key[0] = hist_bucket(value);
	else if (output == LHIST)
		key[0] = lhist_bucket(value);
	else if (output == QUANTILES)
		key[0] = quantile_bucket(value);
	else if (output == HEAVY)
		return less(0, value) ? add_heavy(key, value) : 0;

	if (near_words) {
		u32 zero = 0;
		struct near *near_cells = bpf_map_lookup_elem(&near, &zero);

		if (!near_cells)
			return 0;
		number = near_number(key);
		place = &near_cells->places[number];
	}
	if (place && is_of_place(place, key)) {
		place->state = USED;
		cell = place->cell;
	} else {
		cell = cell_of(key);
		if (!cell) {
			t->lost_map++;
			return 0;
		}
		if (place && !place->state)
			keep_near(place, key, number);
	}
	add(cell, value);
	return 0;
}
