/* Maps of templates, declared in one line. */
#pragma once
#include "helpers.bpf.h"

/* What began and has not ended; the least recently used entry makes room when it is full. */
#define LRU_MAP(name, key_type, value_type, entries)                                                                   \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_LRU_HASH);                                                                   \
		__uint(max_entries, entries);                                                                          \
		__type(key, key_type);                                                                                 \
		__type(value, value_type);                                                                             \
	} name SEC(".maps")

/* Room for one value a CPU: for events that do not fit the stack. */
#define SCRATCH(name, value_type)                                                                                      \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                               \
		__uint(max_entries, 1);                                                                                \
		__type(key, u32);                                                                                      \
		__type(value, value_type);                                                                             \
	} name SEC(".maps");                                                                                           \
	static __always_inline value_type *name##_of_this_cpu(void)                                                    \
	{                                                                                                              \
		u32 zero = 0;                                                                                          \
                                                                                                                       \
		return bpf_map_lookup_elem(&name, &zero);                                                              \
	}
