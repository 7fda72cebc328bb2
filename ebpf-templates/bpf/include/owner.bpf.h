/* Whose a TCP connection is: what runs when its state changes is whoever the packet interrupted, so the owner is noted
 * where it is sure to run: when it connects, listens, or ends its side. */
#pragma once
#include "maps.bpf.h"
#include "sock.bpf.h"

struct owner {
	u32 pid;
	char comm[16];
};

struct listening {
	u32 netns;
	u32 port;
};
LRU_MAP(listeners, struct listening, struct owner, 4096);

static __always_inline void current_owner(struct owner *owner)
{
	owner->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(owner->comm, sizeof(owner->comm));
}

static __always_inline void note_listener(struct sock *sk)
{
	struct listening key = { socket_netns(sk), local_port(sk) };
	struct owner owner = {};

	current_owner(&owner);
	bpf_map_update_elem(&listeners, &key, &owner, BPF_ANY);
}

/* Zeros: it listened before we attached. */
static __always_inline void owner_by_port(struct sock *sk, struct owner *owner)
{
	struct listening key = { socket_netns(sk), local_port(sk) };
	struct owner *found = bpf_map_lookup_elem(&listeners, &key);

	if (found)
		*owner = *found;
}

/* Does a process end its side by this change of state? Nobody else can. */
static __always_inline bool ends_its_side(int to) { return to == TCP_FIN_WAIT1 || to == TCP_LAST_ACK; }

/* "client" or "server" */
static __always_inline void role_name(char role[8], bool server)
{
	u64 name = server ? 0x726576726573 : 0x746e65696c63;

	__builtin_memcpy(role, &name, 8);
}
