// unwound: overflows of a perf event, each with the user's registers and a copy of the user's stack. Linux 5.10+ with BTF.
#include "skep.bpf.h"
#include "registers.bpf.h"

struct event {}; /* none: slots read the context */

/* Bytes of the stack that are copied; the runtime sets it. */
const volatile u32 longest = 16 << 10;

/* A per-CPU value is never longer than this. */
#define COPY_LONGEST (32 << 10)
#define PAGE 4096

/* As it is sent: a record with its columns, then struct copied, then the stack. */
struct copy {
	char bytes[COPY_LONGEST];
};
struct copied {
	struct registers registers; /* zeros: there is no user's side */
	u64 length;		    /* of the stack, from its top on */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct copy);
} copies SEC(".maps");

/* Page by page: a read that crosses into a page that is not there copies nothing. Where the copy begins is known. */
static __always_inline u32 copy_stack(struct copy *copy, u32 begin, u64 from)
{
	u32 end = begin;

	for (int n = 0; n <= COPY_LONGEST / PAGE; n++) {
		u32 size = PAGE - (from & (PAGE - 1));
		u32 room = begin + longest - end;

		if (size > room)
			size = room;
		/* For the verifier, which sees numbers and not what they come from. */
		asm volatile("" : "+r"(size), "+r"(end));
		if (!size || size > PAGE || end > COPY_LONGEST - PAGE)
			break;
		if (bpf_probe_read_user(copy->bytes + end, size, (const void *)from))
			break;
		end += size;
		from += size;
	}
	return end;
}

SEC("perf_event") int hit(struct registers *ctx)
{
	struct trust *t = trusted();
	struct copied *copied;
	struct record *record;
	struct copy *copy;
	void *event = 0;
	u32 zero = 0, end;

	asm volatile("" : "+r"(event));
	if (!t)
		return 0;
	t->seen++;
	if (!CHOSEN(filter, slot_filter(ctx, event))) {
		t->filtered++;
		return 0;
	}
	copy = bpf_map_lookup_elem(&copies, &zero);
	if (!copy || record_size > COPY_LONGEST / 4)
		return 0;
	record = (struct record *)copy->bytes;
	record->source = source;
	record->cpu = 0;
	slot_columns(ctx, event, record->columns);
	copied = (struct copied *)(copy->bytes + record_size);
	__builtin_memset(copied, 0, sizeof(*copied));
	end = record_size + sizeof(*copied);
	if (user_registers(ctx, &copied->registers)) {
		u32 begin = end;

		end = copy_stack(copy, begin, copied->registers.sp);
		copied->length = end - begin;
	} else {
		__builtin_memset(&copied->registers, 0, sizeof(copied->registers));
	}
	if (end > COPY_LONGEST)
		return 0;
	if (bpf_ringbuf_output(&events, copy, end,
			       bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wake_at ? BPF_RB_FORCE_WAKEUP
											  : BPF_RB_NO_WAKEUP))
		t->lost_ring++;
	return 0;
}
TEMPLATE("overflows of a perf event, each with a copy of the user's stack: for --unwind dwarf");
