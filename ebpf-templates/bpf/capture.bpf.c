// capture: packets themselves, or the beginning of each, as they were on the wire. Linux 5.10+ with BTF.
#include "skep.bpf.h"
#include "maps.bpf.h"
#include "packet.bpf.h"

/* Where it attaches: the runtime reads these, and attaches the program of the hook to each. */
PARAM_TEXT("interface", interface, 256, "", "names or globs, such as \"eth0\" or \"veth*,lo\"");
PARAM_TEXT("hook", hook, 16, "tc", "\"tc\" or \"xdp\" (ingress alone, before the kernel makes a buffer)");
PARAM_TEXT("direction", direction, 16, "both", "\"ingress\", \"egress\" or \"both\"");
PARAM(u32, snaplen, 65535, "bytes that are kept of each, from 64 to 65535");
PARAM(u32, rate, 0, "packets a second that are kept, of those that pass the filter; 0 = all");
PARAM(u32, burst, 0, "so many of them at once; 0 = a hundredth of the rate");

struct event {
	FIELD(u64, time, "ns", "since boot, when it was seen");
	FIELD(u32, len, "bytes", "of the packet, with Ethernet's header and tags");
	FIELD(u32, captured, "bytes", "of it that are kept");
	FIELD(u32, interface, "interface", "shown by its name");
	FIELD(u8, direction, "direction", "ingress, egress");
	u8 _room[3];
};

enum direction { INGRESS, EGRESS };

/* Records have the packet behind their columns; the runtime sets it. */
const volatile bool with_packets = false;

#define SHORTEST 64
#define LONGEST 65535
#define TAG_SIZE 4
#define TAG_AT 12

struct limit {
	u64 next; /* when the next one is due */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct limit);
} limit SEC(".maps");

/* Packets that were beyond the rate. */
SCRATCH(limited, u64);

/* GCRA, without a lock: packets that come on several CPUs in the same moment may pass together. */
static __always_inline bool is_beyond(u64 now)
{
	u64 interval = 1000000000ULL / rate, many = burst ? burst : rate / 100, next;
	u32 zero = 0;
	struct limit *limit_ = bpf_map_lookup_elem(&limit, &zero);

	if (!limit_)
		return false;
	next = limit_->next > now ? limit_->next : now;
	if (next > now + (many ? many - 1 : 0) * interval)
		return true;
	limit_->next = next + interval;
	return false;
}

/* A length from 1 to `most`, or 0; the verifier of Linux 5.10 knows what was compared, not what that was computed from. */
static __always_inline u32 up_to(u32 most, u32 length)
{
	u32 last = length - 1;

	asm volatile("" : "+r"(last));
	return last < most ? last + 1 : 0;
}

/* The kernel's own way to copy of a frame came with Linux 5.18; this one reads whatever is there. */
static __always_inline bool copy_frame(struct xdp_md *ctx, u8 *to, u32 length, u32 most)
{
	u32 all = up_to(most, length);

	return all && !bpf_probe_read_kernel(to, all, (const void *)(long)ctx->data);
}

/* A tag that was taken off is put back. */
static __always_inline bool copy_buffer(struct __sk_buff *ctx, u8 *to, u32 length, u32 most)
{
	u32 behind = TAG_AT + TAG_SIZE, rest;

	if (!ctx->vlan_present) {
		u32 all = up_to(most, length);

		return all && !bpf_skb_load_bytes(ctx, 0, to, all);
	}
	rest = up_to(most - behind, length - behind);
	if (!rest || bpf_skb_load_bytes(ctx, 0, to, TAG_AT))
		return false;
	*(u16 *)(to + TAG_AT) = ctx->vlan_proto;
	*(u16 *)(to + TAG_AT + 2) = htons(ctx->vlan_tci);
	return !bpf_skb_load_bytes(ctx, TAG_AT, to + behind, rest);
}

enum met { FRAMES, BUFFERS };

/* A record with room for `most` bytes: what is reserved must be known when the program is verified. */
static __always_inline int keep(void *ctx, enum met met, struct event *e, struct trust *t, u32 most)
{
	struct record *record = bpf_ringbuf_reserve(&events, record_size + most, 0);
	u8 *to = (u8 *)record + record_size;

	if (!record) {
		t->lost_ring++;
		return 0;
	}
	if (!(met == FRAMES ? copy_frame(ctx, to, e->captured, most) : copy_buffer(ctx, to, e->captured, most))) {
		/* Gone while we looked: as good as lost. */
		t->lost_ring++;
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
		return 0;
	}
	record->source = source;
	record->cpu = 0;
	slot_columns(ctx, e, record->columns);
	bpf_ringbuf_submit(record, bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= wake_at ? BPF_RB_FORCE_WAKEUP
											     : BPF_RB_NO_WAKEUP);
	return 0;
}

/* As consume(), with a rate and the packet itself. */
static __always_inline int consume_packet(void *ctx, enum met met, struct event *e)
{
	u32 most = snaplen < SHORTEST ? SHORTEST : snaplen < LONGEST ? snaplen : LONGEST;
	struct trust *t = trusted();

	if (!t)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->captured = e->len < most ? e->len : most;
	t->seen++;
	if (!CHOSEN(filter, slot_filter(ctx, e))) {
		t->filtered++;
		return 0;
	}
	if (rate && is_beyond(e->time)) {
		u64 *count = limited_of_this_cpu();

		if (count)
			++*count;
		return 0;
	}
	if (output != STREAM)
		return aggregate_event(ctx, e, t);
	if (!with_packets)
		return stream(ctx, e, t);
	if (e->captured <= 128)
		return keep(ctx, met, e, t, 128);
	if (e->captured <= 512)
		return keep(ctx, met, e, t, 512);
	if (e->captured <= 1536)
		return keep(ctx, met, e, t, 1536);
	if (e->captured <= 9216)
		return keep(ctx, met, e, t, 9216);
	return keep(ctx, met, e, t, LONGEST + 1);
}

static __always_inline int of_tc(struct __sk_buff *ctx, u8 way)
{
	struct event e = {
		.len = ctx->len + (ctx->vlan_present ? TAG_SIZE : 0),
		.interface = ctx->ifindex,
		.direction = way,
	};

	consume_packet(ctx, BUFFERS, &e);
	return TC_ACT_UNSPEC;
}

SEC("classifier/ingress") int at_ingress(struct __sk_buff *ctx) { return of_tc(ctx, INGRESS); }
SEC("classifier/egress") int at_egress(struct __sk_buff *ctx) { return of_tc(ctx, EGRESS); }

SEC("xdp") int of_xdp(struct xdp_md *ctx)
{
	struct event e = {.len = ctx->data_end - ctx->data, .interface = ctx->ingress_ifindex};

	consume_packet(ctx, FRAMES, &e);
	return XDP_PASS;
}
TEMPLATE_ABOUT_OTHERS("packets themselves, or the beginning of each, as they were on the wire");
