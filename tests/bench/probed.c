/* A function to probe, as distributions build theirs: `endbr64`, then `push`. */
int probed(const void *a, int b, void *c);

__attribute__((noinline)) int probed(const void *a, int b, void *c)
{
	asm volatile("" : : : "memory");
	return a == c ? b : 0;
}
