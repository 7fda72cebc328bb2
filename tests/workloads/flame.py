"""flame.py SECONDS: CPU time in heavy(), medium() and light(), about 5 : 3 : 2; prints what each took, in nanoseconds."""
import random
import sys
import time


def heavy(turns):
    for _ in range(turns * 5):
        pass


def medium(turns):
    for _ in range(turns * 3):
        pass


def light(turns):
    for _ in range(turns * 2):
        pass


took = {heavy: 0, medium: 0, light: 0}
while time.process_time() < float(sys.argv[1]):
    for part in took:
        since = time.thread_time_ns()
        part(random.randrange(2000, 6000))  # work of one length would keep step with the samples
        took[part] += time.thread_time_ns() - since
for part, nanoseconds in took.items():
    print(part.__name__, nanoseconds)
print("total", time.process_time_ns())
