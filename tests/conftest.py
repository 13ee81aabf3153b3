"""One thread per process: the tensors of tests are too small to share, and the processes share the cores."""

import os

os.environ["OMP_NUM_THREADS"] = "1"         # before anything imports torch
