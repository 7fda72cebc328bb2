/*
 * Spans: two events that become one. A start is stored under a key, with what is to be kept of it; its end finds it there
 * and makes an event of the time between, which then goes the way of every event.
 */
#pragma once
#include "skep.bpf.h"

#define SPAN_KEY_LONGEST 128 /* on the stack */
#define SPAN_KEPT_LONGEST 1008

/* The runtime sets all of it. */
const volatile u8 guard = BY_SLOT;	 /* which starts and ends concern us */
const volatile bool by_thread = true;	 /* else by what the slot says */
const volatile bool by_trampoline = true; /* and by the call: a trampoline hands both programs the same context */
const volatile bool near_threads = true;  /* a thread's span in a place of its own, where it has one */

/* Columns of slots from `elapsed` on. */
struct span {
	u64 started; /* 0: it has ended */
	u64 elapsed;
	u64 kept[SPAN_KEPT_LONGEST / 8];
};

/* Sizes come from the plan. What starts and never ends gives way to what starts later. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, struct span);
} spans SEC(".maps");

/*
 * Threads that are kept near: a thread's number says which place may be its own, found without the table's hashing and its
 * list of what was used last. The first thread that comes has a place, and keeps it; others are in the table. A thread runs
 * on one CPU at a time, so that nobody else touches what is its own.
 */
#define NEAR_SPANS 1024

struct near_span {
	u64 thread; /* 0: nobody's */
	struct span span;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct near_span);
} near_spans SEC(".maps");

static __noinline long slot_guard(void *ctx, void *event) { SLOT(1, "r"(ctx), "r"(event)); }
static __noinline long slot_key(void *ctx, void *event, void *key)
{
	SLOT(0, "r"(ctx), "r"(event), "r"(key));
}

static __always_inline void span_key(void *ctx, void *event, u64 *key)
{
	u32 tid;

	if (!by_thread) {
		slot_key(ctx, event, key);
		return;
	}
	tid = bpf_get_current_pid_tgid();
	if (by_trampoline) {
		u64 frame;

		/* To the verifier, only the low half of an address may become a number; a thread's stack needs no more. */
		asm volatile("r0 = %1\n w0 -= 0\n %0 = r0\n" : "=r"(frame) : "r"(ctx) : "r0");
		key[0] = (u64)tid << 32 | frame;
		return;
	}
	/* Every processor's idle task is thread 0. */
	key[0] = tid ? tid : 1ULL << 32 | bpf_get_smp_processor_id();
}

/* For a span that has just been stored: the kernel copies as many bytes of it as the map's values have. */
static const volatile struct span no_span;

/* Two threads may want the same place at the same time: which has put this into the table decides, no thread's key. */
static __always_inline void take_place(struct near_span *near, u32 number, u64 thread)
{
	u64 claim = 1ULL << 63 | number;

	if (bpf_map_update_elem(&spans, &claim, (const void *)&no_span, BPF_NOEXIST))
		return;
	if (!near->thread)
		near->thread = thread;
	bpf_map_delete_elem(&spans, &claim);
}

/* The thread's own place; `wanted`: one that is nobody's becomes its own. */
static __always_inline struct span *near_span(u64 thread, bool wanted)
{
	u32 number = thread % NEAR_SPANS;
	struct near_span *near;

	if (!near_threads)
		return 0;
	near = bpf_map_lookup_elem(&near_spans, &number);
	if (!near)
		return 0;
	if (wanted && !near->thread)
		take_place(near, number, thread);
	return near->thread == thread ? &near->span : 0;
}

static __always_inline void nested(void)
{
	struct trust *t = trusted();

	if (t)
		t->nested++;
}

static __always_inline int filtered(void)
{
	struct trust *t = trusted();

	if (t) {
		t->seen++;
		t->filtered++;
	}
	return 0;
}

static __always_inline int start_span(void *ctx)
{
	u64 key[SPAN_KEY_LONGEST / 8];
	void *event = 0;
	struct span *s;

	/* Slots take two or three arguments even where the compiler knows that the event is none. */
	asm volatile("" : "+r"(event));
	if (!CHOSEN(guard, slot_guard(ctx, event)) || NO_EVENT)
		return 0;
	span_key(ctx, event, key);
	s = near_span(key[0], true);
	if (!s && by_thread && !by_trampoline)
		s = bpf_map_lookup_elem(&spans, key);
	if (!s) {
		/* Refused where there is one already. */
		bpf_map_update_elem(&spans, key, (const void *)&no_span, BPF_NOEXIST);
		s = bpf_map_lookup_elem(&spans, key);
		if (!s) /* its end will not find it either */
			return 0;
	}
	if (s->started)
		nested();
	else
		waiting(1);
	if (has_key)
		slot_columns(ctx, event, s->kept);
	s->started = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int end_span(void *ctx)
{
	u64 now = bpf_ktime_get_ns();
	u64 key[SPAN_KEY_LONGEST / 8];
	void *event = 0;
	struct span *s;

	asm volatile("" : "+r"(event));
	if (!CHOSEN(guard, slot_guard(ctx, event)))
		return filtered();
	span_key(ctx, event, key);
	s = near_span(key[0], false);
	if (!s)
		s = bpf_map_lookup_elem(&spans, key);
	if (!s || !s->started)
		return NO_EVENT ? 0 : unmatched();
	s->elapsed = now - s->started;
	s->started = 0;
	waiting(-1);
	/* The span stays where it is until its event was consumed: slots read it there. */
	consume_if(true, ctx, &s->elapsed);
	/*
	 * A thread's entry stays for its next start, a call's does not. Another start of the same key may already have
	 * begun; and were a key that a script chose ended twice in the same instant, both ends would count.
	 */
	if ((!by_thread || by_trampoline) && !s->started)
		bpf_map_delete_elem(&spans, key);
	return 0;
}

/* The three programs of a generic template: an event as it is, the start of a span, the end of one. */
#define PROGRAMS(section)                                                                                              \
	SEC(section) int hit(void *ctx) { return consume(ctx, 0); }                                                    \
	SEC(section) int start(void *ctx) { return start_span(ctx); }                                                  \
	SEC(section) int end(void *ctx) { return end_span(ctx); }
