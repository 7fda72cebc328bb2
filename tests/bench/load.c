/*
 * load batches KIND CPU BATCHES CALLS    for every line on stdin: BATCHES batches of CALLS events; prints the ns of CPU
 *                                        time a call in the quickest batch
 * load paced KIND CPU RATE SECONDS       for every line on stdin: events at RATE a second (0: as many as it can);
 *                                        prints how many it made, and in how many seconds
 *
 * Prints its pid first. Ends with stdin.
 */
#define _GNU_SOURCE
#include "events.h"
#include <sched.h>
#include <time.h>

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void batches(const struct events *events, int count, long calls)
{
	double best = 1e9;

	for (int i = 0; i < count; i++) {
		double start = now(CLOCK_THREAD_CPUTIME_ID);
		make_events(events, calls);
		double spent = (now(CLOCK_THREAD_CPUTIME_ID) - start) / calls;
		best = spent < best ? spent : best;
	}
	printf("%.3f\n", best * 1e9);
}

static void paced(const struct events *events, double rate, double seconds)
{
	double start = now(CLOCK_MONOTONIC), passed;
	long made = 0;

	while ((passed = now(CLOCK_MONOTONIC) - start) < seconds) {
		long due = rate > 0 ? (long)(rate * passed) - made : 256;
		if (due > 4096)
			due = 4096;
		if (due > 0) {
			make_events(events, due);
			made += due;
		} else {
			usleep(200);
		}
	}
	printf("%ld %.4f\n", made, passed);
}

int main(int count, char **words)
{
	char line[64];
	cpu_set_t cpus;

	if (count != 6) {
		fprintf(stderr, "usage: load batches KIND CPU BATCHES CALLS | load paced KIND CPU RATE SECONDS\n");
		return 2;
	}
	struct events events = events_of(words[2]);
	CPU_ZERO(&cpus);
	CPU_SET(atoi(words[3]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fail("sched_setaffinity");
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%d\n", getpid());
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(words[1], "paced"))
			paced(&events, atof(words[4]), atof(words[5]));
		else
			batches(&events, atoi(words[4]), atol(words[5]));
	}
	return 0;
}
