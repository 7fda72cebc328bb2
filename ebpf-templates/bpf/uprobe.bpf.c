// uprobe: a function of a program or library, on entry or on return. Linux 5.10+.
#include "span.bpf.h"

struct event {}; /* none: slots read the context */

PROGRAMS("uprobe")
TEMPLATE("a function of a program or library, on entry or on return");
