// checkout: a service that is slow for a reason: each request looks for a file that is not there, and waits before it looks again.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

__attribute__((noinline)) static void wait_before_retry(void)
{
	struct timespec time = { .tv_nsec = 20 * 1000 * 1000 };

	clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
	__asm__ volatile("");
}

__attribute__((noinline)) static int load_limits(void)
{
	for (int tries = 0; tries < 3; tries++) {
		int fd = open("/etc/checkout/limits.conf", O_RDONLY);

		if (fd >= 0)
			return fd;
		wait_before_retry();
	}
	return -1;
}

__attribute__((noinline)) static long handle_request(long n)
{
	long sum = load_limits();

	for (volatile long i = 0; i < 1000 * 1000; i++)
		sum += i ^ n;
	return sum;
}

int main(int argc, char **argv)
{
	long requests = argc > 1 ? atol(argv[1]) : 100;

	for (long n = 0; n < requests; n++)
		handle_request(n);
	return 0;
}
