"""Settings of a process that only serves: `emerge serve`, and the function on Lambda Managed Instances."""

from __future__ import annotations

import gc
import resource

MOST_FILES = 1 << 20  # if the system names no limit


def raise_file_limit() -> int:
    """Raises the soft limit of open files to the hard one and returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= most:
        return soft if soft != resource.RLIM_INFINITY else MOST_FILES
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (ValueError, OSError):  # macOS allows less than it names
        return soft
    return most


def collect_garbage_less_often(objects: int) -> None:
    """Sets how many new objects make the collector look for cycles: several requests' worth, since a request makes
    thousands of objects and next to no cycles among them. What exists now lives as long as the process, so the
    collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(objects, 10, 20)
