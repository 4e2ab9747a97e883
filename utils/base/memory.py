"""Settings of the C library's memory: it reuses what was freed."""
import contextlib
import ctypes
import mmap
import os
import threading

import numpy as np

from utils.base.cores import usable_cores

# glibc's names in malloc.h, and what keep_freed() sets them to; the last depends on the cores.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER_TRIM, _NO_MMAP, _CORES_AN_ARENA = -1, 0, 16


def keep_freed() -> bool:
    """Ask glibc to reuse freed memory instead of returning it to the kernel; returns whether it was asked.

    A batch of 100 takes 60 MB, a training step many times that. Returned memory comes back as fresh pages, one by one:
    a sixth of the loader's time, a third of a training step's on a CPU. One arena, or few, keep what is held small and
    steady. Call this before any thread starts: a thread may have an arena of its own, which is not affected. Settings
    in the environment, such as MALLOC_ARENA_MAX, are left alone.
    """
    if any(name.startswith('MALLOC_') for name in os.environ) or 'GLIBC_TUNABLES' in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    arenas = max(1, usable_cores() // _CORES_AN_ARENA)
    settings = (_M_TRIM_THRESHOLD, _NEVER_TRIM), (_M_MMAP_MAX, _NO_MMAP), (_M_ARENA_MAX, arenas)
    return all(mallopt(name, value) == 1 for name, value in settings)


def fill_pool(size: int) -> None:
    """Take `size` bytes from the system at once and free them for reuse, where keep_freed() allows it.

    Otherwise the memory that is held grows for hundreds of batches, as freed blocks turn out a few bytes too short. A
    thread does this, as it can take the system a second.
    """
    def fill() -> None:
        with contextlib.suppress(MemoryError):
            np.empty(size, np.uint8)[::mmap.PAGESIZE] = 0  # only pages that are written to are given

    if keep_freed():
        threading.Thread(target=fill).start()
