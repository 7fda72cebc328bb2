// iterator: objects that the kernel has at this moment, one event for each: tasks, their files, sockets. Linux 5.10+ with
// BTF.
#include "skep.bpf.h"

struct event {}; /* none: slots read the words below */

/* `meta`, then the object: pointers and numbers of eight bytes each. */
struct words {
	u64 word[5];
};

/*
 * The words are copied: in the context itself the verifier has every pointer tested before each use. The kernel calls once
 * more at the end, without an object.
 */
SEC("iter") int hit(u64 *ctx)
{
	struct words words = {};

	bpf_probe_read_kernel(&words, sizeof(words), ctx);
	return words.word[1] ? consume(ctx, &words) : 0;
}
TEMPLATE("objects that the kernel has at this moment: tasks, their files, sockets");
