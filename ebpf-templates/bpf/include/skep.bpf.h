/*
 * What every template is made of: parameters, event fields, maps, slots, and the one stage that takes an event to its
 * end. A template fills an event (or has none, and lets slots read the context) and calls consume().
 *
 * The runtime writes the slots, sets the constants of `.rodata`, and sizes the maps, all before load; the verifier then
 * removes every branch that is off.
 */
#pragma once
#include "helpers.bpf.h"

/* Texts for the runtime: `skep doc` and `skep list` print them. They stay in the object's BTF. */
#define TAG(prefix, text) __attribute__((btf_decl_tag(prefix text)))
#define DOC(text) TAG("doc:", text)

/* A parameter that scripts may set; zero means "off" unless its help says otherwise. */
#define PARAM(type, name, preset, help) const volatile type name SEC(".rodata.params") DOC(help) = preset

/*
 * A parameter with a kind that tells how text becomes its value: "disk", "ns", "bytes"; "pid" is a process that a template
 * about others asks for by concerns().
 */
#define PARAM_AS(kind, type, name, preset, help)                                                                       \
	const volatile type name SEC(".rodata.params") TAG("kind:", kind) DOC(help) = preset

/* A parameter that is a text: of a kind too. */
#define PARAM_TEXT(kind, name, size, preset, help)                                                                     \
	const volatile char name[size] SEC(".rodata.params") TAG("kind:", kind) DOC(help) = preset

/* A member of struct event: the unit is "ns", "bytes", "dev", "signal", … or "". */
#define FIELD(type, name, unit, help) type name TAG("unit:", unit) DOC(help)
#define FIELD_BYTES(name, size, unit, help) u8 name[size] TAG("unit:", unit) DOC(help)
#define FIELD_TEXT(name, size, help) char name[size] DOC(help)

/*
 * Is this field of the event read by any slot? Fields that cost something are filled only then. The runtime sets a bit
 * for every 8 bytes of the event that a slot reads, modulo 64: more than asked for may be filled, never less.
 */
const volatile u64 wanted = ~0ULL;
#define WANT(field) (wanted & (1ULL << (__builtin_offsetof(struct event, field) / 8 % 64)))

/* Which events concern us: what a slot passes; the same of the processes that are followed. */
enum chosen { ALL, BY_SLOT, FOLLOWED };

enum output { STREAM, COUNT, SUM, AVG, MIN, MAX, STATS, HEAVY, HIST, LHIST, QUANTILES };

/* The plan for this program; the runtime sets all of it. */
const volatile u32 output = COUNT;
const volatile u8 filter = BY_SLOT;
const volatile bool has_key = true;
const volatile bool wide_key = true; /* longer than KEY_ON_STACK bytes */
const volatile bool unsigned_value = true;
const volatile s64 lhist_min = 0;
const volatile s64 lhist_max = 1000;
const volatile u64 lhist_step = 100;
const volatile u32 source = 0;	     /* which of the plan's entries a record belongs to */
const volatile u32 record_size = 16; /* with its header */
const volatile u64 wake_at = 0;	     /* bytes pending in the ring buffer before the reader is woken */

/* Completeness, per CPU; the trust line is made of it. */
struct trust {
	u64 seen;
	u64 filtered;
	u64 lost_ring; /* ring buffer full */
	u64 lost_map;  /* aggregation map full */
	u64 unmatched; /* an end without its start */
	u64 nested;    /* a start with the key of one that had not ended */
	u64 lost_stacks; /* no room for a call chain: slots count them */
	u64 begun;	 /* what waits for its end, as counted: more than what is there gave way to what came later */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct trust);
} trust SEC(".maps");

/* One process and those that it and they have started: followed.bpf.c keeps it. The plan sizes it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u8);
} followed SEC(".maps");

/* `struct event` is the template's own; its members are the template's columns. */
struct event;
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
	__type(value, struct event);
} events SEC(".maps");

/* Key and cell sizes, the entries and even the type (per-CPU array where the key is a bucket alone) come from the plan. */
struct cell {
	u64 n;
	u64 sum;
	u64 min;
	u64 max;
};

#define KEY_ON_STACK 64
#define KEY_LONGEST 1024
struct wide {
	char bytes[KEY_LONGEST];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, struct cell);
} aggregate SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct wide);
} scratch SEC(".maps");

/*
 * Slots. The body that stands here is a placeholder that passes everything; `goto +0` marks it, and the opaque result
 * keeps the compiler from reasoning about it.
 */
#define SLOT(result, ...)                                                                                              \
	register long ret asm("r0");                                                                                   \
	asm volatile("goto +0\n r0 = " #result "\n" : "=r"(ret) : __VA_ARGS__ : "memory", "r1", "r2", "r3", "r4", "r5"); \
	return ret

static __noinline long slot_filter(void *ctx, void *event) { SLOT(1, "r"(ctx), "r"(event)); }
static __noinline long slot_value(void *ctx, void *event) { SLOT(1, "r"(ctx), "r"(event)); }
static __noinline long slot_columns(void *ctx, void *event, void *out)
{
	SLOT(0, "r"(ctx), "r"(event), "r"(out));
}

static __always_inline struct trust *trusted(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&trust, &zero);
}

/* One more, or one less, that waits for its end. */
static __always_inline void waiting(s64 more)
{
	struct trust *t = trusted();

	if (t)
		t->begun += more;
}

/* What begins, and what ends, in an LRU_MAP: counted, so that it is known how many gave way. */
static __always_inline void begin_in(void *map, const void *key, const void *value)
{
	if (!bpf_map_update_elem(map, key, value, BPF_NOEXIST))
		waiting(1);
	else
		bpf_map_update_elem(map, key, value, BPF_ANY);
}

static __always_inline void end_in(void *map, const void *key)
{
	if (!bpf_map_delete_elem(map, key))
		waiting(-1);
}

/* An end whose start was not seen: before we attached, or evicted. */
static __always_inline int unmatched(void)
{
	struct trust *t = trusted();

	if (t)
		t->unmatched++;
	return 0;
}

static __always_inline bool is_followed(u32 pid)
{
	return bpf_map_lookup_elem(&followed, &pid);
}

/* For templates about others: `wanted` is a process, 0 for any, or ANY_FOLLOWED. */
#define ANY_FOLLOWED ~0U
static __always_inline bool concerns(u32 pid, u32 wanted)
{
	return wanted == ANY_FOLLOWED ? is_followed(pid) : !wanted || pid == wanted;
}

/* The constant is read once, and each test is one comparison: then the verifier leaves nothing of it but one load. */
#define CHOSEN(constant, slot)                                                                                         \
	({                                                                                                             \
		u8 chosen_ = constant;                                                                                 \
		(chosen_ < FOLLOWED || is_followed(bpf_get_current_pid_tgid() >> 32)) && (chosen_ < BY_SLOT || (slot)); \
	})

#include "aggregate.bpf.h"

struct record {
	u32 source;
	u32 cpu;
	u64 columns[];
};

static __always_inline int stream(void *ctx, void *event, struct trust *t)
{
	struct record *record = bpf_ringbuf_reserve(&events, record_size, 0);

	if (!record) {
		t->lost_ring++;
		return 0;
	}
	record->source = source;
	record->cpu = 0;
	slot_columns(ctx, event, record->columns);
	/* Waking the reader for every record costs more than the record (1.4 us against 0.1). */
	bpf_ringbuf_submit(record, bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wake_at ? BPF_RB_FORCE_WAKEUP
											      : BPF_RB_NO_WAKEUP);
	return 0;
}

/*
 * What is no event of this template, where to find out costs more than most filters: asked of what passes them only. What
 * the filter leaves out is counted, whatever it was.
 */
#ifndef NO_EVENT
#define NO_EVENT false
#endif

static __always_inline int consume_if(bool known, void *ctx, void *event)
{
	struct trust *t = trusted();

	/* Slots take two or three arguments even where the compiler knows that the event is none. */
	asm volatile("" : "+r"(event));
	if (!t)
		return 0;
	t->seen++;
	if (!CHOSEN(filter, slot_filter(ctx, event))) {
		t->filtered++;
		return 0;
	}
	if (!known && NO_EVENT) {
		t->seen--;
		return 0;
	}
	return output == STREAM ? stream(ctx, event, t) : aggregate_event(ctx, event, t);
}

static __always_inline int consume(void *ctx, void *event) { return consume_if(false, ctx, event); }

/* Ends every template: its license, and the one line that says what it is. */
#define TEMPLATE(help) char LICENSE[] SEC("license") DOC(help) = "Dual MIT/GPL"
/* The same where events are about another task than the current one: `--pid` and `--comm` would filter the wrong ones. */
#define TEMPLATE_ABOUT_OTHERS(help) char LICENSE[] SEC("license") DOC(help) TAG("about:", "others") = "Dual MIT/GPL"
