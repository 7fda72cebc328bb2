/* Block requests: which disk, what and how much. One answer for every kernel. */
#pragma once
#include "helpers.bpf.h"

struct gendisk {
	int major;
	int first_minor;
} CORE;

struct request_queue {
	struct gendisk *disk; /* from Linux 5.15 on */
} CORE;

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len;
} CORE;

/* until Linux 5.16 */
struct request___before_5_17 {
	struct gendisk *rq_disk;
} CORE;

static __always_inline u32 request_disk(struct request *rq)
{
	struct request___before_5_17 *old = (void *)rq;
	struct gendisk *disk = FIELD_EXISTS(old->rq_disk) ? old->rq_disk : rq->q->disk;

	return disk ? disk->major << 20 | disk->first_minor : 0;
}

/* include/linux/blk_types.h: the low eight bits say what is done. */
static __always_inline void request_kind(struct request *rq, char kind[8])
{
	u64 name;

	switch (rq->cmd_flags & 0xff) {
	case 0: name = 0x64616572; break;	       /* "read" */
	case 1: name = 0x6574697277; break;	       /* "write" */
	case 2: name = 0x6873756c66; break;	       /* "flush" */
	case 3: name = 0x64726163736964; break;	       /* "discard" */
	default: name = 0x726568746f;		       /* "other" */
	}
	__builtin_memcpy(kind, &name, 8);
}
