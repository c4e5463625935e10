"""Before anything imports NumPy: its BLAS must not spin on the cores that the engine's threads are tested on."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
