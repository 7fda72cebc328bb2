/*
 * watch KIND CPU OUT ERR COMMAND...    starts a tracer, tells when its first program has run, and ends it.
 *
 * The tracer runs on CPU (-1: any) and writes to the files OUT and ERR. Meanwhile one event of KIND is made every
 * 0.3 ms, until a tracing program that the tracer holds has counted a run. The kernel counts runs only while somebody
 * asks for it; that costs every run about 60 ns, so it is asked for only up to here.
 *
 * Prints "first PID MS PEAK_KB", milliseconds since the start and the peak of memory so far, then waits for a line or
 * the end of stdin, interrupts the tracer (SIGINT), and prints "ended MS PEAK_KB CPU_MS STATUS". Where the tracer ends by
 * itself, or nothing runs for 20 s, it prints "failed WHY".
 */
#define _GNU_SOURCE
#include "events.h"
#include <dirent.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#define PROGRAMS 4096
#define PATIENCE_MS 20000
/* A tracer that forgot the first SIGINT gets another one; the time counts from the first. */
#define AGAIN_MS 3000

static int bpf(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static unsigned next_program(unsigned id)
{
	union bpf_attr a = { .start_id = id };

	return bpf(BPF_PROG_GET_NEXT_ID, &a) ? 0 : a.next_id;
}

static bool program_info(unsigned id, struct bpf_prog_info *info)
{
	union bpf_attr a = { .prog_id = id };
	int fd = bpf(BPF_PROG_GET_FD_BY_ID, &a);

	if (fd < 0)
		return false;
	memset(info, 0, sizeof(*info));
	union bpf_attr b = { .info = { .bpf_fd = fd, .info_len = sizeof(*info), .info = (unsigned long)info } };
	int error = bpf(BPF_OBJ_GET_INFO_BY_FD, &b);
	close(fd);
	return !error;
}

static bool is_tracing(const struct bpf_prog_info *info)
{
	return info->type == BPF_PROG_TYPE_KPROBE || info->type == BPF_PROG_TYPE_TRACEPOINT ||
	       info->type == BPF_PROG_TYPE_RAW_TRACEPOINT || info->type == BPF_PROG_TYPE_TRACING;
}

/* Has the process a file descriptor of this program, or of a link of it? */
static bool holds(int pid, unsigned program)
{
	char folder[64], path[350], line[256];
	bool found = false;
	struct dirent *entry;

	snprintf(folder, sizeof(folder), "/proc/%d/fdinfo", pid);
	DIR *descriptors = opendir(folder);
	while (descriptors && !found && (entry = readdir(descriptors))) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		FILE *file = fopen(path, "r");
		while (file && !found && fgets(line, sizeof(line), file)) {
			unsigned id;
			found = sscanf(line, "prog_id: %u", &id) == 1 && id == program;
		}
		if (file)
			fclose(file);
	}
	if (descriptors)
		closedir(descriptors);
	return found;
}

/* Has a program that was loaded after `last` run, and is it the tracer's? Others are looked at once. */
static bool has_run(int pid, unsigned *last)
{
	static struct { unsigned id; bool done; } seen[PROGRAMS];
	static int count;
	struct bpf_prog_info info;

	for (unsigned id; count < PROGRAMS && (id = next_program(*last)); count++) {
		*last = id;
		seen[count].id = id;
	}
	for (int i = 0; i < count; i++) {
		if (seen[i].done)
			continue;
		if (!program_info(seen[i].id, &info) || !is_tracing(&info))
			seen[i].done = true;
		else if (info.run_cnt && holds(pid, seen[i].id))
			return true;
		else if (info.run_cnt)
			seen[i].done = true;
	}
	return false;
}

static long peak_kb(int pid)
{
	char path[64], line[256];
	long kb = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *status = fopen(path, "r");
	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "VmHWM: %ld", &kb);
	if (status)
		fclose(status);
	return kb;
}

static int start(char **words)
{
	int cpu = atoi(words[2]), pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (cpu >= 0) {
		cpu_set_t cpus;
		CPU_ZERO(&cpus);
		CPU_SET(cpu, &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus);
	}
	int in = open("/dev/null", O_RDONLY), out = open(words[3], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int err = open(words[4], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (in < 0 || out < 0 || err < 0)
		fail("output of the tracer");
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	/* Behind a shell in the background it is ignored, and some would leave it so. */
	signal(SIGINT, SIG_DFL);
	execvp(words[5], words + 5);
	perror(words[5]);
	_exit(127);
}

int main(int count, char **words)
{
	char line[64];
	struct rusage used;
	int status;
	unsigned last = 0, id;

	if (count < 6) {
		fprintf(stderr, "usage: watch KIND CPU OUT ERR COMMAND...\n");
		return 2;
	}
	struct events events = events_of(words[1]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	union bpf_attr ask = { .enable_stats.type = BPF_STATS_RUN_TIME };
	int counting = bpf(BPF_ENABLE_STATS, &ask);
	if (counting < 0)
		fail("BPF_ENABLE_STATS");
	while ((id = next_program(last)))
		last = id;

	double started = now_ms();
	int pid = start(words);
	while (!has_run(pid, &last)) {
		if (wait4(pid, &status, WNOHANG, &used) == pid) {
			printf("failed the tracer ended, status %d\n", status);
			return 1;
		}
		if (now_ms() - started > PATIENCE_MS) {
			printf("failed no program has run in %d s\n", PATIENCE_MS / 1000);
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return 1;
		}
		make_events(&events, 1);
		usleep(300);
	}
	double first = now_ms() - started;
	close(counting);
	printf("first %d %.2f %ld\n", pid, first, peak_kb(pid));

	if (!fgets(line, sizeof(line), stdin))
		line[0] = 0;
	double asked = now_ms();
	kill(pid, SIGINT);
	double again = asked + AGAIN_MS;
	while (wait4(pid, &status, WNOHANG, &used) != pid) {
		if (now_ms() > again) {
			kill(pid, now_ms() - asked > PATIENCE_MS ? SIGKILL : SIGINT);
			again += AGAIN_MS;
		}
		usleep(200);
	}
	double cpu = used.ru_utime.tv_sec * 1e3 + used.ru_utime.tv_usec / 1e3 + used.ru_stime.tv_sec * 1e3 +
		     used.ru_stime.tv_usec / 1e3;
	printf("ended %.2f %ld %.2f %d\n", now_ms() - asked, used.ru_maxrss, cpu, status);
	return 0;
}
