"""How the engine was built and how it runs here."""

from __future__ import annotations

import sys
from typing import TextIO

from rnnext import _core
from rnnext._version import __version__

_core.get_num_threads()  # a bad RNNEXT_NUM_THREADS is an error at import (RuntimeError), not in the middle of a training run


def set_num_threads(count: int) -> None:
    """Use up to `count` threads from now on, whatever RNNEXT_NUM_THREADS and OMP_NUM_THREADS say.

    Results do not depend on it, bit for bit. ValueError unless `count` is 1 to 1024.

    OpenMP's own limit still holds if it was lowered since import: inside `threadpoolctl.threadpool_limits(1)` the engine has
    one thread, afterwards `count` again. OpenMP keeps that limit for each calling thread. `torch.set_num_threads` lowers it,
    too, where PyTorch and rnnext share one OpenMP library.

    A child of `fork` always has one thread: it has none of its parent's, and a pool of such children fills the cores anyway. To
    have several threads a child must be started by "spawn" or "forkserver".
    """
    _core.set_num_threads(count)


def get_num_threads() -> int:
    """The number of threads that a call may use here and now; small calls use fewer.

    The first of these that is given: `set_num_threads`, RNNEXT_NUM_THREADS, OMP_NUM_THREADS, one for each core that the process
    may use; within the limits that `set_num_threads` describes.
    """
    return _core.get_num_threads()


def show_config(file: TextIO | None = None) -> None:
    """Print version, compiler, instruction sets compiled and selected, threads and OpenMP."""
    config = _core.config()

    def listed(key: str) -> str:
        names = config[key]
        return ", ".join(names) if isinstance(names, list) else str(names)

    lines = {
        "rnnext": __version__,
        "compiler": config["compiler"],
        "ISAs compiled": listed("isas_compiled"),
        "ISAs available": listed("isas_available"),
        "ISA selected": config["isa"],
        "threads": config["threads"],
        "OpenMP": "yes" if config["openmp"] else "no (one thread; rebuild with OpenMP for more)",
    }
    for name, value in lines.items():
        print(f"{name:<15} {value}", file=file or sys.stdout)
