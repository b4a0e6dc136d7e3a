"""What this process may use of which machine, without TensorFlow."""

import os
import platform
from pathlib import Path


def cores():
    """Number of cores open to this process."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count()


def cpu_model():
    """The processor's name as the system gives it."""
    listing = Path("/proc/cpuinfo")
    for line in listing.read_text().splitlines() if listing.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
