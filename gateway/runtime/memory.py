"""Give memory back once start-up is over: configuration and plans leave much that nobody needs.

Measured at 100,000 points: validated rows of point tables are most of a start-up's memory.
"""

from __future__ import annotations

import ctypes
import gc

M_ARENA_MAX = -8  # mallopt(3); malloc.h
M_MMAP_THRESHOLD = -3
LARGE_BYTES = 1 << 20
"""Blocks of this size go back to the system as they are freed. Left alone, glibc raises the limit
up to 32 MB as such blocks are freed, and a catalogue of 3 MB then leaves holes in the heap."""


def one_arena() -> None:
    """Have all threads share one heap, without large blocks.

    glibc's arena a thread keeps what each thread freed. Call before the first thread starts. The
    hot path allocates little in threads.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    except AttributeError:
        return


def settle() -> None:
    """Collect garbage, spare the collector what stays, and return free pages to the system.

    malloc_trim(3) is glibc's; where there is none, pages stay with the process.
    """
    gc.collect()
    gc.freeze()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        return
