"""What the benchmarks share: fair timing, the machine's description, JSON and a table. Knows no model and no peer.

Whoever is compared runs in the same process and in turn, A B A B ..., with the same number of threads; what is reported is the
median and the spread. One warm-up round is not counted.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rnnext import _core
from rnnext._version import __version__


def alternate(contenders: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, dict[str, float]]:
    """Time every contender once a round, in turn; milliseconds by name: median, fastest, slowest."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: {"median_ms": statistics.median(t), "min_ms": min(t), "max_ms": max(t)} for name, t in times.items()}


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine(threads: int) -> dict[str, Any]:
    """What the figures were taken on, with the limits measured now."""
    config = _core.config()
    return {
        "rnnext": __version__,
        "processor": processor(),
        "isa": config["isa"],
        "compiler": config["compiler"],
        "threads": threads,
        "fma_peak_gflops": _core.fma_peak(threads) / 1e9,
        "read_gbytes": _core.read_bandwidth(threads) / 1e9,
    }


def write_json(path: Path | None, machine_facts: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write the result where `path` says; nothing without one."""
    if path is not None:
        path.write_text(json.dumps({"machine": dict(machine_facts), "rows": rows}, indent=1) + "\n", encoding="utf-8")
