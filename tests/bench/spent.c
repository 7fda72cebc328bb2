/*
 * spent MS OUT ERR COMMAND...    runs a command, interrupts it after MS milliseconds (0: never), and says what it took.
 *
 * Prints "LAST_MS CPU_S BUSY_MS PEAK_KB STATUS": milliseconds from the interrupt, or without one from the start, to its
 * end; CPU seconds in all; CPU milliseconds in the last second before the interrupt; the peak of memory. A command that
 * takes longer than a minute, since it does not care about the interrupt or for another reason, is killed: STATUS says 9.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 60

static int pid;

static void lose_patience(int signal)
{
	(void)signal;
	kill(pid, SIGKILL);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* Of its threads: those that ended are not in it. */
static double cpu_ms(void)
{
	char path[350];
	double sum = 0;
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *threads = opendir(path);
	while (threads && (entry = readdir(threads))) {
		double ns = 0;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, entry->d_name);
		FILE *file = fopen(path, "r");
		if (file && fscanf(file, "%lf", &ns) == 1)
			sum += ns / 1e6;
		if (file)
			fclose(file);
	}
	if (threads)
		closedir(threads);
	return sum;
}

int main(int count, char **words)
{
	struct rusage used;
	int status;

	if (count < 5) {
		fprintf(stderr, "usage: spent MS OUT ERR COMMAND...\n");
		return 2;
	}
	int milliseconds = atoi(words[1]);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int in = open("/dev/null", O_RDONLY), out = open(words[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
		int err = open(words[3], O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(in, 0);
		dup2(out, 1);
		dup2(err, 2);
		/* Behind a shell in the background it is ignored, and some would leave it so. */
		signal(SIGINT, SIG_DFL);
		execvp(words[4], words + 4);
		perror(words[4]);
		_exit(127);
	}
	signal(SIGALRM, lose_patience);
	alarm(PATIENCE_S);
	double since = now_ms(), busy = 0;
	if (milliseconds) {
		usleep((milliseconds - 1000) * 1000);
		busy = cpu_ms();
		usleep(1000 * 1000);
		busy = cpu_ms() - busy;
		since = now_ms();
		kill(pid, SIGINT);
	}
	if (wait4(pid, &status, 0, &used) != pid)
		return 1;
	double last = now_ms() - since;
	double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	printf("%.2f %.4f %.2f %ld %d\n", last, cpu, busy, used.ru_maxrss, status);
	return 0;
}
