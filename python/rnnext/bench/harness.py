"""Fair timing: every contender has a process of its own, and they take turns. Knows no model, no peer, no case.

So no two OpenMP runtimes spin in one process, and what one contender sets (denormals, threads) does not affect another one.
Each round asks every contender for a turn, A B C A B C ..., after a pause in which the threads of the one before fall asleep.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.metadata
import json
import math
import multiprocessing
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnext import _core
from rnnext._version import __version__
from rnnext.bench.probe import peak_memory

_TURN = 0.1  # seconds of calls in a turn
_PAUSE = 0.1  # seconds between turns: OpenMP's and ONNX Runtime's threads spin for up to 50 ms before they sleep
_SAME = 1e-4  # the greatest difference between results that differ only by rounding
_FORMAT = 1
_DISTRIBUTIONS = ("numpy", "torch", "keras", "tensorflow", "tensorflow-cpu", "onnxruntime", "openvino")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RNNEXT_NUM_THREADS")


class Spread(NamedTuple):
    """The values of all rounds: their median, least and greatest."""

    median: float
    low: float
    high: float

    def over(self, count: float) -> Spread:
        """For each of `count` things in a call."""
        return Spread(*(value / count for value in self))

    def rate(self, count: float) -> Spread:
        """Things a second, if a call that takes these milliseconds does `count` of them."""
        return Spread(*(count * 1e3 / value for value in (self.median, self.high, self.low)))


@dataclass(frozen=True)
class Row:
    """One case: a value for each contender. The first is ours, and the others are compared with it."""

    suite: str
    case: str
    unit: str
    values: dict[str, Spread]
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.suite} {self.case} [{self.unit}]"

    def times_better(self, other: Spread) -> float:
        """How many times better the first contender's median is: less for a time or memory, more for a rate."""
        ours = next(iter(self.values.values())).median
        return ours / other.median if self.unit.endswith("/s") else other.median / ours


# ---------------------------------------------------------------- a turn, and turns in turn


def turn(run: Callable[[], object], seconds: float = _TURN) -> float:
    """Milliseconds of a call: the median of as many calls as fill `seconds`, after one that is not counted.

    A first call that takes longer than that is the result: the cost of waking up does not matter then.
    """

    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    if (first := timed()) >= seconds:
        return first * 1e3
    times: list[float] = []
    total = 0.0
    while total < seconds:
        times.append(timed())
        total += times[-1]
    return statistics.median(times) * 1e3


def alternate(turns: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, Spread]:
    """Ask every contender once in each round; returns what each one measured."""
    values: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, ask in turns.items():
            values[name].append(ask())
    return {name: Spread(statistics.median(found), min(found), max(found)) for name, found in values.items()}


# ---------------------------------------------------------------- a process for each contender


class Task(NamedTuple):
    """`make(threads=threads, **arguments)`, called in the contender's process, gives the call to be timed."""

    make: Callable[..., Callable[[], object]]
    threads: int
    arguments: Mapping[str, Any]


class ContenderError(RuntimeError):
    """A contender could not do its task."""


def _serve(connection: Connection) -> None:
    """Answer until the other end closes."""
    run: Callable[[], object] = lambda: None  # noqa: E731
    answer: Any
    while True:
        try:
            request, task = connection.recv()  # a turn has its seconds in place of a task
        except EOFError:
            return
        try:
            match request:
                case "load":
                    run = lambda: None  # noqa: E731
                    gc.collect()
                    run, answer = task.make(threads=task.threads, **task.arguments), None
                case "turn":
                    answer = turn(run, task)
                case "result":
                    answer = np.asarray(run(), dtype=np.float32)
                case "peak memory":
                    answer = peak_memory()
        except Exception as error:  # whatever it is, the other contenders go on
            connection.send(ContenderError(f"{type(error).__name__}: {error}"))
        else:
            connection.send(answer)


class Worker:
    """A contender's process, which keeps its task between turns."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _environment({name: str(threads) for name in _THREAD_VARIABLES}), _deaf_to_ctrl_c():
            self._process.start()
        theirs.close()

    def ask(self, request: str, task: Task | float | None = None) -> Any:
        """The process's answer to a request. ContenderError if it fails or has ended."""
        try:
            self._connection.send((request, task))
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(10)
            raise ContenderError(f"{self._name}: its process ended with code {self._process.exitcode}") from error
        if isinstance(answer, ContenderError):
            raise ContenderError(f"{self._name}: {answer}")
        return answer

    def turn(self) -> float:
        """Milliseconds of a call, after a pause in which all others come to rest."""
        time.sleep(_PAUSE)
        milliseconds: float = self.ask("turn", _TURN)
        return milliseconds

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join()


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that start in this block ignore Ctrl-C, from the first on: this one gets it, too, and ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Pool:
    """The contenders' processes, started when they are first needed and kept for later cases. A context manager."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, int], Worker] = {}

    def measure(
        self, tasks: Mapping[str, Task], *, rounds: int, warm_up: bool = True, same_results: bool = False
    ) -> dict[str, Spread]:
        """Milliseconds of a call, by contender, after a first round that is not counted unless `warm_up` is False.

        A peer that cannot do its task, or (with `same_results`) does not compute what the first contender computes, is named on
        standard error and left out. ContenderError if the first contender fails.
        """
        first = next(iter(tasks))
        expected: Any = None
        failed: set[str] = set()

        def trying(name: str, work: Callable[[Worker], float]) -> float:
            """What `work` returns for the contender's process; nan if the contender has failed."""
            if name in failed:
                return math.nan
            key = (name, tasks[name].threads)
            worker = self._workers[key] = self._workers.get(key) or Worker(*key)
            try:
                return work(worker)
            except ContenderError as error:
                if name == first:
                    raise
                print(f"left out: {error}", file=sys.stderr)
                failed.add(name)
                self._workers.pop(key).close()
                return math.nan

        def prepare(name: str, worker: Worker) -> float:
            nonlocal expected
            worker.ask("load", tasks[name])
            if same_results:
                result = worker.ask("result")
                expected = result if expected is None else expected
                if result.size != expected.size or not np.abs(result.ravel() - expected.ravel()).max() < _SAME:
                    raise ContenderError(f"{name}: it computes something else than {first}")
            return worker.turn() if warm_up else 0.0

        for name in tasks:
            trying(name, functools.partial(prepare, name))
        values = alternate({name: functools.partial(trying, name, Worker.turn) for name in tasks}, rounds=rounds)
        return {name: value for name, value in values.items() if name not in failed}

    def returned(self, name: str, task: Task, *, rounds: int) -> Spread:
        """What a contender's calls return, instead of how long they take."""
        worker = self._workers[name, task.threads] = self._workers.get((name, task.threads)) or Worker(name, task.threads)
        worker.ask("load", task)
        return alternate({name: lambda: float(worker.ask("result"))}, rounds=rounds)[name]

    def peak_memory(self, name: str, threads: int) -> float:
        """The most memory, in MB, that a contender's process has held; 0 where the system does not tell."""
        megabytes: float = self._workers[name, threads].ask("peak memory")
        return megabytes

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


# ---------------------------------------------------------------- the machine, and files


def fma_rates(threads: int) -> list[float]:
    """GF/s of nothing but fused multiply-adds, in many short turns now.

    The best is the processor's peak, as others can only lower it; the median is what the machine's other guests leave of it.
    """
    return [rate / 1e9 for rate in _core.fma_rates(threads)]


def fma_peak(threads: int) -> float:
    """The best of them now."""
    return max(fma_rates(threads))


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine(threads: int) -> dict[str, Any]:
    """The machine, its limits as measured now, and the versions of all that is compared."""
    config = _core.config()
    rates = fma_rates(threads)
    versions = {}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "processor": _processor(),
        "isa": config["isa"],
        "threads": threads,
        "fma_peak_gflops": max(rates),
        "fma_median_gflops": statistics.median(rates),
        "read_gbytes": max(_core.read_bandwidth(threads) for _ in range(3)) / 1e9,
        "compiler": config["compiler"],
        "versions": {"rnnext": __version__, "python": platform.python_version(), **versions},
    }


def write_json(path: Path, machine_facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write everything that was measured, for `read_json`."""
    found = [asdict(row) | {"values": {name: value._asdict() for name, value in row.values.items()}} for row in rows]
    content = {"format": _FORMAT, "machine": dict(machine_facts), "rows": found}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """(machine, rows) of a file that `write_json` wrote. ValueError for another file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {_FORMAT}")
        rows = [
            Row(**row | {"values": {name: Spread(**value) for name, value in row["values"].items()}}) for row in content["rows"]
        ]
        return dict(content["machine"]), rows
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a result of rnnext bench ({type(error).__name__}: {error})") from error
