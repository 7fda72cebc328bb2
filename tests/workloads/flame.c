// flame: functions that say themselves how long they took, for tests of flame graphs.
//
// flame work SECONDS     CPU time in heavy(), medium() and light(), about 5 : 3 : 2
// flame sleep ROUNDS     waits in nap() and doze(), which are known and measured
// flame allocate ROUNDS  bytes of malloc() in hoard() and trickle()
// flame jit SECONDS      CPU time in code that is made at run time, named by /tmp/perf-PID.map
// flame idle SECONDS     neither: waits, and ends by itself
//
// Prints a line each: a name and nanoseconds.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define OWN __attribute__((noinline, noclone))

/* Between half and one and a half: work of one length would keep step with the samples. */
static uint64_t about(uint64_t turns)
{
	return turns / 2 + random() % turns;
}

static uint64_t now(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	return at.tv_sec * 1000000000ull + at.tv_nsec;
}

/* Each a body of its own, or the linker and the compiler fold them into one. */
OWN static void heavy(uint64_t turns)
{
	for (volatile uint64_t n = turns * 5; n; n--)
		;
}

OWN static void medium(uint64_t turns)
{
	for (volatile uint64_t n = turns * 3; n; n -= 1)
		asm volatile("");
}

OWN static void light(uint64_t turns)
{
	for (volatile uint64_t n = turns * 2; n; --n)
		asm volatile("nop");
}

static void work(double seconds)
{
	static const struct { const char *name; void (*run)(uint64_t); } parts[] = {
		{ "heavy", heavy }, { "medium", medium }, { "light", light },
	};
	uint64_t took[3] = {}, until = seconds * 1e9;

	while (now(CLOCK_PROCESS_CPUTIME_ID) < until)
		for (int n = 0; n < 3; n++) {
			uint64_t since = now(CLOCK_THREAD_CPUTIME_ID);

			/* Some 0.1 ms: long beside what the clock costs. */
			parts[n].run(about(20000));
			took[n] += now(CLOCK_THREAD_CPUTIME_ID) - since;
		}
	for (int n = 0; n < 3; n++)
		printf("%s %lu\n", parts[n].name, took[n]);
}

/*
 * libc keeps no frame pointer: a chain that begins in it lacks whoever called it, here the functions in the middle.
 * Each call is followed by something, or it would be a jump that leaves no frame.
 */
OWN static void wait_for(long milliseconds)
{
	nanosleep(&(struct timespec){ .tv_nsec = milliseconds * 1000 * 1000 }, NULL);
	asm volatile("");
}

OWN static void nap(void)
{
	wait_for(29);
	asm volatile("");
}

OWN static void doze(void)
{
	wait_for(11);
	asm volatile("");
}

static void sleeps(int rounds)
{
	uint64_t napped = 0, dozed = 0;

	for (int n = 0; n < rounds; n++) {
		uint64_t at = now(CLOCK_MONOTONIC), then;

		nap();
		then = now(CLOCK_MONOTONIC);
		napped += then - at;
		doze();
		dozed += now(CLOCK_MONOTONIC) - then;
	}
	printf("nap %lu\ndoze %lu\n", napped, dozed);
}

OWN static void *fetch(size_t bytes)
{
	void *found = malloc(bytes);

	asm volatile("" : "+r"(found));
	return found;
}

OWN static void hoard(void)
{
	free(fetch(9973));
	asm volatile("");
}

OWN static void trickle(void)
{
	free(fetch(23));
	asm volatile("");
}

static void allocate(int rounds)
{
	for (int n = 0; n < rounds; n++) {
		hoard();
		trickle();
	}
	printf("hoard %d\ntrickle %d\n", rounds * 9973, rounds * 23);
}

#ifdef __x86_64__
/* push rbp; mov rbp, rsp; 1: dec rdi; jnz 1b; pop rbp; ret */
static const unsigned char LOOP[] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0xff, 0xcf, 0x75, 0xfb, 0x5d, 0xc3 };

static void jit(double seconds)
{
	static const char *names[] = { "LazyCompile:*hot app.js:3", "LazyCompile:~cold app.js:9" };
	char path[64];
	unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t took[2] = {}, until = seconds * 1e9;
	FILE *map;

	snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
	map = fopen(path, "w");
	if (code == MAP_FAILED || !map)
		exit(1);
	for (int n = 0; n < 2; n++) {
		memcpy(code + 64 * n, LOOP, sizeof LOOP);
		fprintf(map, "%lx %zx %s\n", (unsigned long)(code + 64 * n), sizeof LOOP, names[n]);
	}
	fclose(map);
	mprotect(code, 4096, PROT_READ | PROT_EXEC);
	while (now(CLOCK_PROCESS_CPUTIME_ID) < until)
		for (int n = 0; n < 2; n++) {
			uint64_t since = now(CLOCK_THREAD_CPUTIME_ID);

			((void (*)(uint64_t))(code + 64 * n))(about(n ? 100000 : 300000));
			took[n] += now(CLOCK_THREAD_CPUTIME_ID) - since;
		}
	for (int n = 0; n < 2; n++)
		printf("%s %lu\n", names[n], took[n]);
}
#else
static void jit(double seconds) { exit(1); }
#endif

int main(int count, char **words)
{
	const char *what = count > 2 ? words[1] : "";
	double amount = count > 2 ? atof(words[2]) : 0;

	if (!strcmp(what, "work"))
		work(amount);
	else if (!strcmp(what, "sleep"))
		sleeps(amount);
	else if (!strcmp(what, "allocate"))
		allocate(amount);
	else if (!strcmp(what, "jit"))
		jit(amount);
	else if (!strcmp(what, "idle"))
		usleep(amount * 1e6);
	else
		return 2;
	printf("total %lu\n", now(CLOCK_PROCESS_CPUTIME_ID));
	return 0;
}
