/* leak: 101 pieces of 1000 bytes, 23 of 3 * 100 and 7 of 4001 bytes are not given back; 1009 others are. */
#include <stdlib.h>

#define KEPT(piece) __asm__ volatile("" : : "r"(piece) : "memory")

__attribute__((noinline)) static void leaks(void)
{
	void *piece = malloc(1000);

	KEPT(piece);
}

__attribute__((noinline)) static void clears(void)
{
	void *piece = calloc(3, 100);

	KEPT(piece);
}

__attribute__((noinline)) static void grows(void)
{
	void *piece = realloc(malloc(10), 4001);

	KEPT(piece);
}

__attribute__((noinline)) static void is_tidy(void)
{
	void *piece = malloc(64);

	KEPT(piece);
	free(piece);
}

int main(void)
{
	for (int i = 0; i < 1009; i++)
		is_tidy();
	for (int i = 0; i < 101; i++)
		leaks();
	for (int i = 0; i < 23; i++)
		clears();
	for (int i = 0; i < 7; i++)
		grows();
	return 0;
}
