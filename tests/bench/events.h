/*
 * The events that are measured. A kind is "getpgid" (hardly anyone else makes this call), "pids" (the same, of another
 * process id each time), "read" (of /dev/zero, sizes 1 to 4096), "switch" (from one task to another: two threads take turns
 * on one CPU), or "LIBRARY:FUNCTION" (called with zeros).
 */
#pragma once
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct events {
	enum { GETPGID, PIDS, READ, SWITCH, CALL } kind;
	int zero;
	int (*function)(const void *, int, void *);
};

static inline void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct events events_of(char *kind)
{
	struct events events = { .kind = GETPGID };
	char *colon = strrchr(kind, ':');

	if (colon) {
		*colon = 0;
		void *library = dlopen(kind, RTLD_NOW);
		events.kind = CALL;
		events.function = library ? dlsym(library, colon + 1) : NULL;
		*colon = ':';
		if (!events.function) {
			fprintf(stderr, "%s: %s\n", kind, dlerror());
			exit(1);
		}
	} else if (!strcmp(kind, "read")) {
		events.kind = READ;
		events.zero = open("/dev/zero", O_RDONLY);
		if (events.zero < 0)
			fail("/dev/zero");
	} else if (!strcmp(kind, "pids")) {
		events.kind = PIDS;
	} else if (!strcmp(kind, "switch")) {
		events.kind = SWITCH;
	} else if (strcmp(kind, "getpgid")) {
		fprintf(stderr, "unknown kind of event: %s\n", kind);
		exit(1);
	}
	return events;
}

/* To the partner and back. */
static int there[2], back[2];

static void *take_turns(void *nothing)
{
	char byte;

	while (read(there[0], &byte, 1) == 1)
		if (write(back[1], &byte, 1) != 1)
			fail("write");
	return nothing;
}

/* Where it begins, its CPU is chosen already. */
static void begin_turns(void)
{
	static pthread_t partner;

	if (partner)
		return;
	if (pipe(there) || pipe(back) || pthread_create(&partner, NULL, take_turns, NULL))
		fail("a partner");
}

/* One loop a kind: a branch inside it would be measured too. */
static void make_events(const struct events *events, long count)
{
	static char buffer[4096];
	static int pid;

	switch (events->kind) {
	case GETPGID:
		for (long i = 0; i < count; i++)
			syscall(SYS_getpgid, 0);
		break;
	case PIDS:
		for (long i = 0; i < count; i++)
			syscall(SYS_getpgid, pid++);
		break;
	case READ:
		for (long i = 0; i < count; i++)
			if (read(events->zero, buffer, 1 + (i * 7919 & 4095)) < 1)
				fail("read");
		break;
	case SWITCH:
		begin_turns();
		for (long i = 0; i < count; i += 2)
			if (write(there[1], buffer, 1) != 1 || read(back[0], buffer, 1) != 1)
				fail("a turn");
		break;
	case CALL:
		for (long i = 0; i < count; i++)
			events->function(NULL, 0, NULL);
		break;
	}
}
