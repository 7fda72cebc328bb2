/*
 * load batches KIND CPU BATCHES CALLS    for every line on stdin: BATCHES batches of CALLS events; prints the ns of CPU
 *                                        time an event in the quickest batch
 * load paced KIND CPU RATE SECONDS       for every line on stdin: events at RATE a second (0: as many as it can);
 *                                        prints how many it made, and in how many seconds
 * load hindered KIND CPU CALLS SECONDS   batches of CALLS events, as many as it can make; prints how many events, in how
 *                                        many seconds, and how many of those were lost by batches that took more than
 *                                        twice as long as the middle one of their tenth of a second
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
		double start = now(CLOCK_PROCESS_CPUTIME_ID);
		make_events(events, calls);
		double spent = (now(CLOCK_PROCESS_CPUTIME_ID) - start) / calls;
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

static int by_size(const void *a, const void *b)
{
	double difference = *(double *)a - *(double *)b;

	return (difference > 0) - (difference < 0);
}

/* What a batch takes while nothing gets in its way, those around it tell: machines change their pace by themselves. */
static void hindered(const struct events *events, long calls, double seconds)
{
	static double batches[1 << 20];
	double passed = 0, lost = 0;
	long made = 0;

	while (passed < seconds) {
		double start = now(CLOCK_MONOTONIC), before = start, after = start, middle;
		int count = 0;

		while (after - start < 0.1 && count < 1 << 20) {
			make_events(events, calls);
			after = now(CLOCK_MONOTONIC);
			batches[count++] = after - before;
			before = after;
		}
		qsort(batches, count, sizeof(*batches), by_size);
		middle = batches[count / 2];
		for (int i = count / 2; i < count; i++)
			lost += batches[i] > 2 * middle ? batches[i] - middle : 0;
		made += count * calls;
		passed += after - start;
	}
	printf("%ld %.6f %.6f\n", made, passed, lost);
}

int main(int count, char **words)
{
	char line[64];
	cpu_set_t cpus;

	if (count != 6) {
		fprintf(stderr, "usage: load batches KIND CPU BATCHES CALLS | load paced KIND CPU RATE SECONDS |\n       load hindered KIND CPU CALLS SECONDS\n");
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
		else if (!strcmp(words[1], "hindered"))
			hindered(&events, atol(words[4]), atof(words[5]));
		else
			batches(&events, atoi(words[4]), atol(words[5]));
	}
	return 0;
}
