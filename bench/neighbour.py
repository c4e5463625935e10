"""How a training step of the tutorial's model fares in company: a process that spins on a core, PyTorch in the same process.

Each line gives the milliseconds of a step in one situation and their ratio to the same contender's step alone: medians over
rounds in each of which every situation has its turn.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rnnext.bench import ours, peers
from rnnext.bench.harness import Task, Worker, machine

SIZES = (20_000, 128, 100)  # vocabulary, embedding, state
ROWS, STEPS = 32, 200
# The spinning process ends by itself when the process that started it is gone.
SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(1_000_000): pass"
SETTLE = 0.2  # seconds for the spinning process to start, or for the threads of the previous contender to fall asleep


def training(contenders: Sequence[str], *, cell: str, threads: int, count: int) -> Callable[[], list[float]]:
    """A function that makes `count` steps of each contender, in turn, and returns each one's median in milliseconds."""
    rng = np.random.default_rng(0)
    batches = [(rng.integers(1, SIZES[0], (ROWS, STEPS)), rng.integers(0, 2, ROWS).astype(np.float32)) for _ in range(4)]
    make: dict[str, Callable[[], Callable[[], object]]] = {
        "rnnext": lambda: ours.train(cell, SIZES, batches, threads=threads),
        "torch": lambda: peers.torch_train(cell, SIZES, batches, threads=threads, flush=True),
    }
    steps = {name: make[name]() for name in contenders}
    for step in steps.values():
        for _ in range(3):
            step()

    def run() -> list[float]:
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(count):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                times[name].append((time.perf_counter() - start) * 1e3)
        return [statistics.median(found) for found in times.values()]

    return run


@contextlib.contextmanager
def spinning(cores: set[int]) -> Iterator[None]:
    """While the block runs, another process spins on one of these cores."""
    with subprocess.Popen([sys.executable, "-S", "-c", SPIN]) as process:
        try:
            os.sched_setaffinity(process.pid, cores)
            time.sleep(SETTLE)
            yield
        finally:
            process.kill()


def main() -> None:
    """Measure and print; write JSON as well if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", choices=["lstm", "gru_after", "gru_before"], default="lstm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps in a turn")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()

    everywhere = os.sched_getaffinity(0)
    situations: dict[str, tuple[tuple[str, ...], set[int] | None]] = {
        "alone": (("rnnext",), None),
        "a process spins on one core": (("rnnext",), {max(everywhere)}),
        "a process spins on any core": (("rnnext",), everywhere),
    }
    if find_spec("torch") is not None and options.cell != "gru_before":  # which PyTorch does not have
        situations["torch alone"] = (("torch",), None)
        situations["beside torch"] = (("rnnext", "torch"), None)

    workers: dict[tuple[str, ...], Worker] = {}
    found: dict[str, list[list[float]]] = {name: [] for name in situations}
    try:
        for contenders, _ in situations.values():
            if contenders not in workers:
                workers[contenders] = Worker(" and ".join(contenders), options.threads)
                arguments = {"contenders": contenders, "cell": options.cell, "count": options.steps}
                workers[contenders].ask("load", Task(training, options.threads, arguments))
        for _ in range(options.rounds):
            for name, (contenders, cores) in situations.items():
                time.sleep(SETTLE)
                with contextlib.nullcontext() if cores is None else spinning(cores):
                    found[name].append([float(value) for value in workers[contenders].ask("result")])
    finally:
        for worker in workers.values():
            worker.close()

    medians = {name: [statistics.median(values) for values in zip(*rounds, strict=True)] for name, rounds in found.items()}
    alone = {"rnnext": medians["alone"][0]}
    if "torch alone" in medians:
        alone["torch"] = medians["torch alone"][0]
    rows = []
    for name, (contenders, _) in situations.items():
        for contender, milliseconds in zip(contenders, medians[name], strict=True):
            ratio = milliseconds / alone[contender]
            rows.append({"situation": name, "contender": contender, "ms": milliseconds, "over_alone": ratio})
            print(f"{contender:<7} {name:<28} {milliseconds:8.2f} ms   {ratio:5.2f} times alone")
    if options.json is not None:
        report = {"cell": options.cell, "threads": options.threads, "machine": machine(options.threads)}
        options.json.write_text(json.dumps({**report, "rows": rows, "rounds": found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
