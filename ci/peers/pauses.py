"""How late anybody would be on this core who wants to act at some moment: reads the clock and nothing else, and takes what
lies between two readings for time in which the core was away. Prints the 50th, 99th and 99.9th percentile of the lateness
over all moments, and the longest pause, in microseconds. Usage: pauses.py SECONDS"""

import gc
import sys
from time import monotonic_ns

# What a reading takes itself, and the least that is counted, in nanoseconds.
LEAST = 2_000


def main():
    gc.disable()
    begun = last = monotonic_ns()
    end = begun + int(float(sys.argv[1]) * 1e9)
    pauses = []
    while last < end:
        now = monotonic_ns()
        if now - last > LEAST:
            pauses.append(now - last)
        last = now
    whole = last - begun

    # The share of all moments that lie in a pause, longer than this before its end.
    def later_than(lateness):
        return sum(pause - lateness for pause in pauses if pause > lateness) / whole

    for share in (0.5, 0.01, 0.001):
        low, high = 0.0, float(max(pauses, default=0))
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if later_than(middle) > share else (low, middle)
        print(f"{high / 1000:.1f}", end=" ")
    print(f"{max(pauses, default=0) / 1000:.1f}")


main()
