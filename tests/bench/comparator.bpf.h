/* What the hand-written comparators share. */
#pragma once
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#if defined(__TARGET_ARCH_x86)
enum { GETPGID = 121, READ = 0 };
#elif defined(__TARGET_ARCH_arm64)
enum { GETPGID = 155, READ = 63 };
#endif

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 only_pid = 0; /* 0: every process */
