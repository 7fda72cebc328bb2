/* A program with usdt probes, which <sys/sdt.h> would write just so: a nop in the code, and a note that says where the
 * probe's arguments lie there. Written out, so that the tests choose the operands, and need no header.
 *
 *   usdt NUMBER             NUMBER turns of everything, each probe once in each
 *   usdt NUMBER watched     again and again: prints the semaphores, stops itself, takes its NUMBER turns
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* `arguments` may name operands of the asm statement: %[name]. */
#define PROBE(provider, name, semaphore, arguments, ...) \
	__asm__ volatile( \
		"990: nop\n" \
		".pushsection .note.stapsdt,\"\",\"note\"\n" \
		".balign 4\n" \
		".4byte 992f-991f, 994f-993f, 3\n" \
		"991: .asciz \"stapsdt\"\n" \
		"992: .balign 4\n" \
		"993: .8byte 990b\n" \
		".8byte _.stapsdt.base\n" \
		".8byte " semaphore "\n" \
		".asciz \"" provider "\"\n" \
		".asciz \"" name "\"\n" \
		".asciz \"" arguments "\"\n" \
		"994: .balign 4\n" \
		".popsection\n" \
		".ifndef _.stapsdt.base\n" \
		".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
		".weak _.stapsdt.base\n" \
		".hidden _.stapsdt.base\n" \
		"_.stapsdt.base: .space 1\n" \
		".size _.stapsdt.base, 1\n" \
		".popsection\n" \
		".endif\n" :: __VA_ARGS__)

/* Where <sys/sdt.h> has users put them; not static, since only the notes refer to them. */
__attribute__((section(".probes"), used)) volatile unsigned short watched_semaphore, twice_semaphore;

int counter = 1000;
static volatile double ratio = 0.5;

__attribute__((noipa)) static void turn(long n, char *name)
{
	int negative = -(int)n;
	unsigned char small = n;
	long list[4] = { 0, n, 2 * n, 3 * n };

	/* A number of 32 bits below zero, one of 8 bits, one of 64, a constant. */
	PROBE("skep", "numbers", "0", "-4@%k[negative] 1@%b[small] 8@%[n] -4@$-5 4@$-1 2@%w[n]",
	      [negative] "r"(negative), [small] "q"(small), [n] "r"(n));
	/* High bits that do not belong to the argument. */
	PROBE("skep", "narrow", "0", "4@%k[wide] -2@%w[wide]", [wide] "r"(0x7777777700000000 + (unsigned)-n));
	/* Memory: by a base, by a base and an index. */
	PROBE("skep", "memory", "0", "-8@8(%[list]) 8@(%[list],%[two],8) -8@-8(%[list],%[two],8) 8@8(,%[eighth],8)",
	      [list] "r"(list), [two] "r"(2L), [eighth] "r"((unsigned long)list / 8), "m"(list));
	PROBE("skep", "text", "0", "8@%[name]", [name] "r"(name));
	/* Beside the code, wherever that was mapped. */
	counter += 1;
	PROBE("other", "variable", "0", "-4@counter(%%rip) 4@missing(%%rip)", "m"(counter));
	PROBE("other", "float", "0", "8f@%[ratio] 8@%[n]", [ratio] "x"(ratio), [n] "r"(n));
	/* Two sites with their argument in one place, one with it in another. */
	PROBE("skep", "sites", "0", "8@%%rdi", "D"(n));
	PROBE("skep", "sites", "0", "8@%%rdi", "D"(n));
	PROBE("skep", "sites", "0", "8@$7", "D"(n));
	/* As programs do whose arguments cost something: nothing happens unless somebody watches. */
	if (watched_semaphore)
		PROBE("skep", "watched", "watched_semaphore", "2@%w[count]", [count] "r"(watched_semaphore));
	if (twice_semaphore) {
		PROBE("skep", "twice", "twice_semaphore", "2@%%ax", "a"(twice_semaphore));
		PROBE("skep", "twice", "twice_semaphore", "2@%%ax", "a"(twice_semaphore));
	}
}

int main(int argc, char **argv)
{
	char even[] = "even", odd[] = "odd";
	long turns = argc > 1 ? atol(argv[1]) : 0;

	do {
		if (argc > 2) {
			printf("%d %d\n", watched_semaphore, twice_semaphore);
			fflush(stdout);
			raise(SIGSTOP);
		}
		PROBE("span", "begin", "0", "8@%[turns]", [turns] "r"(turns));
		for (long n = 1; n <= turns; n++)
			turn(n, n % 2 ? odd : even);
		PROBE("span", "finish", "0", "", "r"(0));
	} while (argc > 2);
	return 0;
}
