"""What is asked of the C library's memory: to use again what was freed."""
import contextlib
import ctypes
import mmap
import os
import threading

import numpy as np

# glibc's names in malloc.h, and what keep_freed() sets them to; the last depends on the cores.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER_TRIM, _NO_MMAP, _CORES_AN_ARENA = -1, 0, 16


def keep_freed() -> bool:
    """Ask glibc to use memory again that was freed; returns whether it was asked.

    A batch of 100 takes 60 MB, and a step of training many times that. By default they are given back to the kernel and
    come again as fresh pages, page by page: a sixth of the loader's time, a fifth of a training step's on a CPU. One
    arena, or few, keep what is held small and steady. A thread that was there before may have made another one, which
    gives back what it holds whatever is asked: so this comes before all threads. Settings in the environment, such as
    MALLOC_ARENA_MAX, are left alone.
    """
    if any(name.startswith('MALLOC_') for name in os.environ) or 'GLIBC_TUNABLES' in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    arenas = max(1, len(os.sched_getaffinity(0)) // _CORES_AN_ARENA)
    settings = (_M_TRIM_THRESHOLD, _NEVER_TRIM), (_M_MMAP_MAX, _NO_MMAP), (_M_ARENA_MAX, arenas)
    return all(mallopt(name, value) == 1 for name, value in settings)


def fill_pool(size: int) -> None:
    """Take `size` bytes from the system at once and free them: for use again, where keep_freed() could ask so.

    Otherwise the memory that is held grows for hundreds of batches, as freed places turn out a few bytes too short. A
    thread of its own does this, as a system may need a second for it.
    """
    def fill() -> None:
        with contextlib.suppress(MemoryError):
            np.empty(size, np.uint8)[::mmap.PAGESIZE] = 0  # only pages that are written to are given

    if keep_freed():
        threading.Thread(target=fill).start()
