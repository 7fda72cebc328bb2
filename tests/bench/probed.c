/* A function to probe, as distributions build theirs: `endbr64`, then `push`. */
int probed(const void *a, int b, void *c);

__attribute__((noinline)) int probed(const void *a, int b, void *c)
{
	(void)c;
	/* Needs a frame, so the function pushes the frame pointer. */
	return __builtin_frame_address(0) == a ? b : 0;
}
