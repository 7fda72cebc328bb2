/* What stream.bpf.c hands to tracer.c. */
#pragma once
#include <linux/types.h>

struct record {
	__u32 pid;
	__u32 tid;
	__s64 argument;
	char comm[16];
};
