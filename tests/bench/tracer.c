/*
 * tracer OBJECT PROGRAM PID [LIBRARY FUNCTION OFFSET]    the user side of the hand-written comparators, with libbpf.
 *
 * Loads one program or "all", for one process or all of them (PID 0), attaches it, and waits for SIGINT. Records are printed as
 * `PID TID COMM ARGUMENT`; at the end, standard error gets "delivered N lost N".
 */
#include "record.h"
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPUS 1024
/* How long a record may wait where there are too few of them to wake us. */
#define PATIENCE_MS 25

static volatile sig_atomic_t stop;
static unsigned long long delivered;

static void interrupted(int signal) { (void)signal, stop = 1; }

static int print_record(void *context, void *data, size_t size)
{
	const struct record *r = data;

	(void)context, (void)size;
	printf("%u %u %s %lld\n", r->pid, r->tid, r->comm, (long long)r->argument);
	delivered++;
	return 0;
}

static void die(const char *what)
{
	fprintf(stderr, "tracer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long long sum_of_cpus(struct bpf_object *object, const char *map)
{
	static unsigned long long values[CPUS];
	unsigned long long sum = 0;
	unsigned zero = 0;
	int cpus = libbpf_num_possible_cpus();

	if (cpus > CPUS || bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, map), &zero, values))
		die(map);
	for (int i = 0; i < cpus; i++)
		sum += values[i];
	return sum;
}

static void set_pid(struct bpf_object *object, unsigned pid)
{
	struct bpf_map *map;
	size_t size;

	bpf_object__for_each_map(map, object)
		if (strstr(bpf_map__name(map), ".rodata"))
			/* only_pid is the one constant */
			memcpy((void *)bpf_map__initial_value(map, &size), &pid, sizeof(pid));
}

static struct bpf_link *attach(struct bpf_program *program, int count, char **words)
{
	if (count < 7)
		return bpf_program__attach(program);
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = words[5]);
	return bpf_program__attach_uprobe_opts(program, -1, words[4], strtoul(words[6], NULL, 0), &options);
}

static void print_until_interrupted(struct ring_buffer *ring)
{
	signal(SIGINT, interrupted);
	while (!stop) {
		ring_buffer__poll(ring, PATIENCE_MS);
		ring_buffer__consume(ring);
	}
}

/* Blocked and waited for: a handler could run just before pause(). */
static void wait_until_interrupted(void)
{
	sigset_t interrupt;
	int signal;

	sigemptyset(&interrupt);
	sigaddset(&interrupt, SIGINT);
	sigprocmask(SIG_BLOCK, &interrupt, NULL);
	sigwait(&interrupt, &signal);
}

int main(int count, char **words)
{
	struct bpf_program *program;
	struct bpf_link *links[2] = {};
	int attached = 0;
	struct ring_buffer *ring = NULL;

	if (count != 4 && count != 7) {
		fprintf(stderr, "usage: tracer OBJECT PROGRAM PID [LIBRARY FUNCTION OFFSET]\n");
		return 2;
	}
	struct bpf_object *object = bpf_object__open_file(words[1], NULL);
	if (!object)
		die(words[1]);
	bpf_object__for_each_program(program, object) {
		bool is_wanted = !strcmp(words[2], "all") || !strcmp(bpf_program__name(program), words[2]);
		bpf_program__set_autoload(program, is_wanted);
	}
	set_pid(object, atoi(words[3]));
	if (bpf_object__load(object))
		die(words[2]);
	bpf_object__for_each_program(program, object)
		if (bpf_program__autoload(program) && attached < 2 && !(links[attached++] = attach(program, count, words)))
			die("attach");
	if (!attached)
		die(words[2]);
	struct bpf_map *records = bpf_object__find_map_by_name(object, "ring");
	if (records && !(ring = ring_buffer__new(bpf_map__fd(records), print_record, NULL, NULL)))
		die("ring buffer");
	if (ring)
		print_until_interrupted(ring);
	else
		wait_until_interrupted();
	while (attached)
		bpf_link__destroy(links[--attached]);
	if (ring) {
		ring_buffer__consume(ring);
		fflush(stdout);
		fprintf(stderr, "delivered %llu lost %llu\n", delivered, sum_of_cpus(object, "lost"));
	}
	return 0;
}
