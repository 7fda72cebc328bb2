// biolatency: time from the issue of a block request to its completion. Linux 5.10+ with BTF.
#include "skep.bpf.h"
#include "block.bpf.h"
#include "maps.bpf.h"

PARAM_AS("disk", u32, disk, 0, "only this disk, such as nvme0n1; empty = every disk");

struct event {
	FIELD(u64, elapsed, "ns", "from issue to the device until completion");
	FIELD(u64, size, "bytes", "how much was to be transferred");
	FIELD(u32, disk, "dev", "disk of the request, shown by name");
	u32 _pad;
	FIELD_TEXT(kind, 8, "read, write, flush, discard or other");
};
LRU_MAP(issued_at, struct request *, u64, 16384);

static __always_inline int issued(struct request *rq)
{
	u64 now = bpf_ktime_get_ns();

	if (disk && request_disk(rq) != disk)
		return 0;
	begin_in(&issued_at, &rq, &now);
	return 0;
}

static __always_inline int completed(void *ctx, struct request *rq)
{
	struct request *key = rq; /* a pointer read back from the stack is none to the verifier of 6.1 */
	u64 *start = bpf_map_lookup_elem(&issued_at, &key);
	struct event e = {};

	if (!start) /* issued before we attached, evicted, or of another disk */
		return disk ? 0 : unmatched();
	e.elapsed = bpf_ktime_get_ns() - *start;
	end_in(&issued_at, &key);
	e.size = rq->__data_len;
	if (WANT(disk))
		e.disk = request_disk(rq);
	if (WANT(kind))
		request_kind(rq, e.kind);
	return consume(ctx, &e);
}

/* 5.11 dropped the queue: the runtime loads the twin whose prototype this kernel's BTF has. */
SEC("tp_btf/block_rq_issue") TAG("arguments:", "1") int issue(u64 *ctx) { return issued((void *)ctx[0]); }
SEC("tp_btf/block_rq_issue") TAG("arguments:", "2") int issue_5_10(u64 *ctx) { return issued((void *)ctx[1]); }
SEC("tp_btf/block_rq_complete") int complete(u64 *ctx) { return completed(ctx, (void *)ctx[0]); }
TEMPLATE_ABOUT_OTHERS("how long block I/O takes, from issue to completion");
