"""Work of a process for tests: it tells that it was done, and by whom."""

import os
import time
from pathlib import Path


def tell(place, folder):
    """Add a line to the file in `place` named like this process; `(begin, end)`."""
    with open(Path(place) / str(os.getpid()), "a") as told:
        told.write(f"{folder}\n")
    return time.time(), time.time()
