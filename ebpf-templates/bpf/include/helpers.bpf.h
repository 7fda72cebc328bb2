/* The kernel's BPF helpers that the templates call. Numbers: include/uapi/linux/bpf.h, enum bpf_func_id. */
#pragma once
#include "types.bpf.h"

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static u64 (*const bpf_get_current_uid_gid)(void) = (void *)15;
static long (*const bpf_get_current_comm)(void *buf, u32 size) = (void *)16;
static long (*const bpf_get_stackid)(void *ctx, void *map, u64 flags) = (void *)27;
static struct task_struct *(*const bpf_get_current_task)(void) = (void *)35;
static long (*const bpf_skb_pull_data)(void *skb, u32 length) = (void *)39;
static u64 (*const bpf_jiffies64)(void) = (void *)118;
static u64 (*const bpf_ktime_get_coarse_ns)(void) = (void *)160;
static long (*const bpf_probe_read_user)(void *dst, u32 size, const void *from) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *dst, u32 size, const void *from) = (void *)113;
static long (*const bpf_probe_read_user_str)(void *dst, u32 size, const void *from) = (void *)114;
static long (*const bpf_probe_read_kernel_str)(void *dst, u32 size, const void *from) = (void *)115;
static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *)158;
static long (*const bpf_ringbuf_output)(void *ringbuf, const void *data, u64 size, u64 flags) = (void *)130;
static void *(*const bpf_ringbuf_reserve)(void *ringbuf, u64 size, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
static void (*const bpf_ringbuf_discard)(void *data, u64 flags) = (void *)133;
static u64 (*const bpf_ringbuf_query)(void *ringbuf, u64 flags) = (void *)134;
static const void *(*const bpf_task_pt_regs)(struct task_struct *task) = (void *)175;

enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2, BPF_RB_AVAIL_DATA = 0 };

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

#define __uint(name, value) int(*name)[value]
#define __type(name, type) __typeof__(type) *name

/* Reads a kernel pointer's member where plain dereferencing is not allowed (raw tracepoints, kprobes). */
#define READ(place)                                                                                                    \
	({                                                                                                             \
		__typeof__(place) read_;                                                                               \
		bpf_probe_read_kernel(&read_, sizeof(read_), __builtin_preserve_access_index(&(place)));               \
		read_;                                                                                                 \
	})
/* Its address, for reads of more than a register holds. */
#define PLACE(place) ((const void *)__builtin_preserve_access_index(&(place)))
/* The kernel's own list of helpers; it says which ones there are. */
enum bpf_func_id { BPF_FUNC_get_current_task_btf = 158, BPF_FUNC_task_pt_regs = 175 };
#define HELPER_EXISTS(helper) __builtin_preserve_enum_value(*(enum bpf_func_id *)helper, 0)
#define FIELD_EXISTS(place) __builtin_preserve_field_info(place, 2)
#define TYPE_SIZE(type) __builtin_preserve_type_info(*(type *)0, 1)
