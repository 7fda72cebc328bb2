/* Integer types, and the kernel types that the templates touch: only the members named here, found by CO-RE. */
#pragma once

typedef signed char s8;
typedef unsigned char u8;
typedef short s16;
typedef unsigned short u16;
typedef int s32;
typedef unsigned int u32;
typedef long long s64;
typedef unsigned long long u64;
typedef _Bool bool;
#define false 0
#define true 1

#define CORE __attribute__((preserve_access_index))

struct thread_info {
	unsigned long flags; /* arm64: TIF_32BIT is bit 22 */
	u32 status;	     /* x86: TS_COMPAT is bit 1 */
} CORE;

struct task_struct {
	struct thread_info thread_info;
	int pid;
	int tgid;
	char comm[16];
	unsigned int __state;
	struct task_struct *real_parent;
} CORE;

/* until Linux 5.14 */
struct task_struct___state {
	long state;
} CORE;
