"""What is measured: cases, sizes and contenders. Each suite yields a `Row` for each case as soon as it is measured."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rnnext.bench import CELLS, harness, ours, peers, probe, tokens
from rnnext.bench.harness import Pool, Row, Spread, Task

GATES = {"lstm": 4, "gru_after": 3, "gru_before": 3}
# Bytes that a step saves for its backward pass for each unit: gates, c or the recurrent part of n, and h.
_SAVED = {"lstm": 24, "gru_after": 20, "gru_before": 16}
_MODULES = {
    "torch": ("torch",),
    "torch-ftz": ("torch",),
    "keras-tf": ("keras", "tensorflow"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
}


class Shape(NamedTuple):
    """Sizes of a call of a layer."""

    steps: int  # T
    batch: int  # B
    inputs: int  # I
    units: int  # H


class Sizes(NamedTuple):
    """The tutorial's model: Embedding(vocabulary, embedding) -> LSTM or GRU(units) -> Dense(1)."""

    vocabulary: int = 20_000
    embedding: int = 128
    units: int = 100


TUTORIAL = Sizes()


@dataclass(frozen=True)
class Case:
    """A shape with a name, and the cells that it is meant for."""

    name: str
    shape: Shape
    cells: tuple[str, ...] = CELLS


_LETTERS = {
    "A": Shape(200, 32, 128, 100),
    "B": Shape(100, 64, 256, 256),
    "C": Shape(25, 32, 512, 512),
    "D": Shape(50, 64, 1024, 1024),
}
_DEEPBENCH = {  # units, batch, steps
    ("lstm",): [
        *((512, batch, 25) for batch in (16, 32, 64, 128)),
        *((1024, batch, 25) for batch in (16, 32, 64, 128)),
        *((256, batch, 150) for batch in (16, 32, 64)),
        *((1536, batch, 50) for batch in (8, 16, 32)),
        (128, 128, 629),  # benchdnn's
    ],
    ("gru_after", "gru_before"): [(1536, 32, 187), (512, 32, 1), (1024, 32, 1500), (1024, 64, 1500)],
}


def shapes(text: str) -> tuple[Case, ...]:
    """Letters of A to D, `deepbench` (H×B×T, with I = H), or numbers T,B,I,H; ValueError for anything else."""
    if text == "deepbench":
        return tuple(
            Case(f"{units}×{batch}×{steps}", Shape(steps, batch, units, units), cells)
            for cells, listed in _DEEPBENCH.items()
            for units, batch, steps in listed
        )
    if text and set(text) <= _LETTERS.keys():
        return tuple(Case(letter, _LETTERS[letter]) for letter in text)
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isdecimal() and int(number) for number in numbers):
        raise ValueError(f"bench: shapes is {text!r}, expected letters of A to D, deepbench, or T,B,I,H as 200,32,128,100")
    return (Case(text, Shape(*map(int, numbers))),)


def installed(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the peers that can be imported here."""
    return tuple(name for name in names if all(importlib.util.find_spec(module) for module in _MODULES[name]))


@dataclass(frozen=True)
class Settings:
    """What the user chooses, and the sizes, which only a test has a reason to change."""

    threads: int
    rounds: int = 15
    cells: tuple[str, ...] | None = None
    shapes: tuple[Case, ...] | None = None
    peers: tuple[str, ...] = ()
    data: Path | None = None
    epoch: bool = False
    sizes: Sizes = TUTORIAL
    batch: int = 32
    steps: int = 200
    reviews: int = 25_000
    sequences: int = 1024  # of a call of predict
    predict_batches: tuple[int, ...] = (256, 32)
    latency_shapes: tuple[Shape, ...] = (Shape(63, 1, 24, 32), Shape(150, 1, 256, 256))
    long_steps: tuple[int, ...] = (2_000, 10_000)

    def of(self, *default: str) -> tuple[str, ...]:
        """The cells to measure."""
        return self.cells or default

    def chosen(self, cell: str, tasks: Mapping[str, Task]) -> dict[str, Task]:
        """Our tasks and those of the peers that are wanted; PyTorch has no GRU with the reset before the product.

        The first word of a contender's name is the peer's name, or rnnext.
        """
        found = {}
        for name, task in tasks.items():
            who = name.split()[0]
            impossible = cell == "gru_before" and who.startswith("torch")
            if who == "rnnext" or (who in self.peers and not impossible):
                found[name] = task
        return found


@functools.lru_cache(maxsize=1)
def _reviews(data: Path | None, vocabulary: int, count: int) -> tokens.Reviews:
    return tokens.drawn(vocabulary, count) if data is None else tokens.imdb(data, vocabulary)


def _of(settings: Settings) -> tokens.Reviews:
    return _reviews(settings.data, settings.sizes.vocabulary, settings.reviews)


# ---------------------------------------------------------------- layers


def gflop(cell: str, shape: Shape) -> float:
    """Operations of forward and backward, in 10^9: 3 · 2 · T · B · (I + H) · G · H, counting only products.

    A step has two, and for each of them there are two in the backward pass: for its input and for its weights.
    """
    return 6e-9 * shape.steps * shape.batch * (shape.inputs + shape.units) * GATES[cell] * shape.units


def least_bytes(cell: str, shape: Shape) -> float:
    """Bytes that forward and backward have to move if nothing but weights stays in a cache.

    Forward reads x, writes y and what is saved; backward reads dy, x and what was saved, writes dx; weights are read twice and
    their gradients written once.
    """
    tokens_, (_, _, inputs, units) = shape.steps * shape.batch, shape
    weights = (inputs + units) * GATES[cell] * units
    return 4.0 * (tokens_ * (3 * inputs + 2 * units) + 3 * weights) + 2.0 * tokens_ * units * _SAVED[cell]


def _layer_facts(cell: str, shape: Shape, milliseconds: float, peak: float, threads_: int) -> dict[str, float]:
    """Rate and share of the peak: the greater one of before and now, as it moves with the clock, and others only lower it."""
    peak = max(peak, harness.fma_peak(threads_))
    work = gflop(cell, shape)
    rate = work / milliseconds * 1e3
    return {
        "gflops": rate,
        "share_of_peak": rate / peak,
        "fma_peak_gflops": peak,
        "operations_per_byte": work * 1e9 / least_bytes(cell, shape),
    }


def _cases(settings: Settings, letters: str) -> Iterator[tuple[Case, str]]:
    for case in settings.shapes or shapes(letters):
        yield from ((case, cell) for cell in settings.of(*CELLS) if cell in case.cells)


def layer(settings: Settings) -> Iterator[Row]:
    """Forward and backward of a layer as a user calls them, beside PyTorch with denormals flushed."""
    with Pool() as pool:
        for case, cell in _cases(settings, "ABCD"):
            arguments = {"cell": cell, "shape": tuple(case.shape)}
            tasks = {
                "rnnext": Task(ours.layer, settings.threads, arguments),
                "torch-ftz": Task(peers.torch_layer, settings.threads, arguments | {"flush": True}),
            }
            peak = harness.fma_peak(settings.threads)
            values = pool.measure(settings.chosen(cell, tasks), rounds=settings.rounds)
            facts = _layer_facts(cell, case.shape, values["rnnext"].median, peak, settings.threads)
            yield Row("layer", f"{case.name} {cell}", "ms", values, facts)


def threads(settings: Settings) -> Iterator[Row]:
    """All threads over one: the ratio of the second contender is the speed-up."""
    with Pool() as pool:
        for case, cell in _cases(settings, "AB"):
            arguments = {"cell": cell, "shape": tuple(case.shape)}
            tasks = {
                f"rnnext {count} thread{'s' * (count > 1)}": Task(ours.layer, count, arguments)
                for count in dict.fromkeys((settings.threads, 1))
            }
            peak = harness.fma_peak(settings.threads)
            values = pool.measure(tasks, rounds=settings.rounds)
            facts = _layer_facts(cell, case.shape, next(iter(values.values())).median, peak, settings.threads)
            yield Row("threads", f"{case.name} {cell}", "ms", values, facts)


_OPTIONS: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.2},
    "recurrent_dropout": {"recurrent_dropout": 0.2},
    "weight drop": {"recurrent_weight_dropout": 0.2},
    "zoneout_h": {"zoneout_h": 0.1},
    "layer_norm": {"layer_norm": True},
    "clip": {"clip": 3.0},
    "float64": {"dtype": "float64"},
}
_OPTIONS_OF_LSTM: dict[str, dict[str, Any]] = {
    "zoneout_h and c": {"zoneout_h": 0.1, "zoneout_c": 0.1},
    "peepholes": {"peepholes": True},
    "coupled": {"coupled": True},
    "projection": {"projection": 0.5},  # of the units
}


def options(settings: Settings) -> Iterator[Row]:
    """Forward and backward of a layer with an option, beside the plain one."""
    with Pool() as pool:
        for case, cell in _cases(settings, "A"):
            arguments = {"cell": cell, "shape": tuple(case.shape)}
            listed = _OPTIONS | (_OPTIONS_OF_LSTM if cell == "lstm" else {})
            asked: dict[str, dict[str, Any]] = {}
            for name, given in listed.items():
                share = given.get("projection")
                asked[name] = {"options": given if share is None else {"projection": max(int(case.shape.units * share), 1)}}
            asked["both directions"] = {"both_directions": True}
            for name, more in asked.items():
                tasks = {
                    "rnnext": Task(ours.layer, settings.threads, arguments),
                    "rnnext, with it": Task(ours.layer, settings.threads, arguments | more),
                }
                yield Row("options", f"{case.name} {cell} {name}", "ms", pool.measure(tasks, rounds=settings.rounds))


def long(settings: Settings) -> Iterator[Row]:
    """Forward and backward over long sequences, four at a time: milliseconds, and the most memory that the process held."""
    for steps in settings.long_steps:
        for cell in settings.of("lstm", "gru_after"):
            shape = Shape(steps, 4, settings.sizes.embedding, settings.sizes.units)
            arguments = {"cell": cell, "shape": tuple(shape)}
            tasks = {
                "rnnext": Task(ours.layer, settings.threads, arguments),
                "torch-ftz": Task(peers.torch_layer, settings.threads, arguments | {"flush": True}),
            }
            peak = harness.fma_peak(settings.threads)
            with Pool() as pool:  # processes of their own, as memory is not always given back
                values = pool.measure(settings.chosen(cell, tasks), rounds=min(settings.rounds, 5))
                held = {name: pool.peak_memory(name, settings.threads) for name in values}
            facts = _layer_facts(cell, shape, values["rnnext"].median, peak, settings.threads)
            yield Row("long", f"T={steps} {cell}", "ms", values, facts)
            if all(held.values()):
                memory = {name: Spread(value, value, value) for name, value in held.items()}
                yield Row("long", f"T={steps} {cell}, memory", "MB", memory)


# ---------------------------------------------------------------- training


def step(settings: Settings) -> Iterator[Row]:
    """A training step of the tutorial's model, tokens to changed weights, and with `epoch` an epoch of all reviews.

    Each contender goes through the same fifty batches. PyTorch as it comes is slowed down by denormals from its first step on:
    only the last state feeds the loss, and on the way back over 200 steps 4 to 10 % of the embedding's gradients that are not
    zero become denormal. No warm-up longer than the one round is needed to see what a user sees.

    After it, the part of a step of fit that is Python and NumPy, whose code and data the engine has swept out of the caches.
    """
    reviews = _of(settings)
    batches = [(part.padded(settings.steps), part.labels) for part in reviews.batches(50, settings.batch)]
    with Pool() as pool:
        for cell in settings.of("lstm", "gru_after"):
            arguments = {"cell": cell, "sizes": tuple(settings.sizes), "batches": batches}
            tasks = {
                "rnnext": Task(ours.train, settings.threads, arguments),
                "torch": Task(peers.torch_train, settings.threads, arguments | {"flush": False}),
                "torch-ftz": Task(peers.torch_train, settings.threads, arguments | {"flush": True}),
                "keras-tf": Task(peers.keras_train, settings.threads, arguments),
            }
            yield Row("step", cell, "ms", pool.measure(settings.chosen(cell, tasks), rounds=settings.rounds))
        x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
        for cell in settings.of("lstm", "gru_after"):
            rows: dict[str, Any] = {"x": x, "y": y, "batch": settings.batch}
            task = Task(ours.outside_engine, settings.threads, {"cell": cell, "sizes": tuple(settings.sizes), **rows})
            values = {"rnnext": pool.returned("rnnext", task, rounds=settings.rounds)}
            yield Row("step", f"{cell}, outside the engine", "ms", values)
    if settings.epoch:
        yield from _epoch(settings, reviews)


def _epoch(settings: Settings, reviews: tokens.Reviews) -> Iterator[Row]:
    x = reviews.padded(settings.steps)
    for cell in settings.of("lstm", "gru_after"):
        arguments: dict[str, Any] = {"cell": cell, "sizes": tuple(settings.sizes)}
        arguments |= {"x": x, "y": reviews.labels, "batch": settings.batch}
        tasks = {
            "rnnext": Task(ours.fit, settings.threads, arguments),
            "torch": Task(peers.torch_fit, settings.threads, arguments | {"flush": False}),
            "torch-ftz": Task(peers.torch_fit, settings.threads, arguments | {"flush": True}),
            "keras-tf": Task(peers.keras_fit, settings.threads, arguments),
        }
        with Pool() as pool:
            values = pool.measure(settings.chosen(cell, tasks), rounds=1, warm_up=False)
        seconds = {name: value.over(1e3) for name, value in values.items()}
        yield Row("step", f"{cell}, epoch of {len(x):,}", "s", seconds)


def _dense(reviews: tokens.Reviews, length: int, count: int, size: int) -> list[tuple[tokens.Ids, tokens.Floats]]:
    """Batches of rows that are all that long."""
    batches = reviews.at_least(length).batches(count, size)
    return [(part.padded(length), part.labels) for part in batches]


def ragged(settings: Settings) -> Iterator[Row]:
    """Training steps on reviews of their own length, at most `steps` and twice that; time by real tokens.

    Beside it dense cases, and PyTorch's packed sequences: `rnnext dense` has rows that are all of the greatest length, so that
    its batches have more tokens, of which more are alike; `rnnext level` rows of the ragged ones' mean length. 1.00x there: a
    token of a ragged batch costs what one of a dense batch with as many tokens costs.
    """
    reviews, count = _of(settings), 10
    with Pool() as pool:
        for length in (settings.steps, 2 * settings.steps):
            parts = [part.cut(length) for part in reviews.batches(count, settings.batch)]
            real = sum(len(row) for part in parts for row in part.ids)
            rows = count * settings.batch
            mean = round(real / rows)
            tokens_of = {"dense": rows * length, "level": rows * mean}
            dense, level = (_dense(reviews, each, count, settings.batch) for each in (length, mean))
            for cell in settings.of("lstm", "gru_after"):
                common = {"cell": cell, "sizes": tuple(settings.sizes), "at_once": count}
                of_ragged = common | {"batches": [(part.ids, part.labels) for part in parts]}
                of_dense = common | {"batches": dense}
                of_level = common | {"batches": level}
                tasks = {
                    "rnnext": Task(ours.train, settings.threads, of_ragged),
                    "rnnext dense": Task(ours.train, settings.threads, of_dense),
                    "rnnext level": Task(ours.train, settings.threads, of_level),
                    "torch-ftz packed": Task(peers.torch_train, settings.threads, of_ragged | {"flush": True}),
                    "torch-ftz dense": Task(peers.torch_train, settings.threads, of_dense | {"flush": True}),
                }
                values = pool.measure(settings.chosen(cell, tasks), rounds=settings.rounds)
                each = {name: value.over(tokens_of.get(name.split()[-1], real) / 1e3) for name, value in values.items()}  # µs
                case = f"{cell}, at most {length} tokens"
                yield Row("ragged", case, "µs/token", each, {"tokens_per_row": real / rows})


# ---------------------------------------------------------------- inference


def _predicting(settings: Settings, cell: str, x: Any, batch: int) -> dict[str, Task]:
    arguments = {
        "cell": cell,
        "sizes": tuple(settings.sizes),
        "weights": ours.tutorial(cell, settings.sizes).get_weights(),
        "x": x,
        "batch": batch,
    }
    tasks = {
        "rnnext": Task(ours.predict, settings.threads, arguments),
        "torch-ftz": Task(peers.torch_predict, settings.threads, arguments | {"flush": True}),
        "onnxruntime": Task(peers.onnxruntime_predict, settings.threads, arguments),
        "openvino": Task(peers.openvino_predict, settings.threads, arguments | {"streams": False}),
    }
    if len(x) > batch:
        tasks["openvino streams"] = Task(peers.openvino_predict, settings.threads, arguments | {"streams": True})
    return settings.chosen(cell, tasks)


def infer(settings: Settings) -> Iterator[Row]:
    """Sequences a second of the tutorial's model through predict, on rows padded as in its training.

    OpenVINO twice: one batch at a time on all threads as everyone else, and its own way of several batches at once.
    """
    part = next(_of(settings).batches(1, settings.sequences))
    x = part.padded(settings.steps)
    with Pool() as pool:
        for batch in settings.predict_batches:
            for cell in settings.of("lstm", "gru_after"):
                tasks = _predicting(settings, cell, x, batch)
                values = pool.measure(tasks, rounds=settings.rounds, same_results=True)
                rates = {name: value.rate(len(x)) for name, value in values.items()}
                yield Row("infer", f"{cell}, B={batch}", "sequences/s", rates, {"padding": float((x == 0).mean())})


def latency(settings: Settings) -> Iterator[Row]:
    """One sequence at a time: the tutorial's model on a review without padding, and layers alone."""
    review = next(_of(settings).at_least(settings.steps).batches(1, 1)).padded(settings.steps)
    rng = np.random.default_rng(0)
    with Pool() as pool:
        for cell in settings.of("lstm", "gru_after"):
            tasks = _predicting(settings, cell, review, 1)
            values = pool.measure(tasks, rounds=settings.rounds, same_results=True)
            yield Row("latency", f"{cell}, model, T={settings.steps}", "ms", values)
        for shape in settings.latency_shapes:
            for cell in settings.of("lstm", "gru_after"):
                module = ours.recurrent(cell, shape.units)
                module.build((None, None, shape.inputs))
                x = rng.standard_normal((shape.batch, shape.steps, shape.inputs), np.float32)
                arguments = {"cell": cell, "weights": module.get_weights(), "x": x}
                tasks = {
                    "rnnext": Task(ours.forward, settings.threads, arguments),
                    "torch-ftz": Task(peers.torch_forward, settings.threads, arguments | {"flush": True}),
                    "onnxruntime": Task(peers.onnxruntime_forward, settings.threads, arguments),
                }
                chosen = settings.chosen(cell, tasks)
                values = pool.measure(chosen, rounds=settings.rounds, same_results=True)
                yield Row("latency", f"{cell}, T={shape.steps}, I={shape.inputs}, H={shape.units}", "ms", values)


# ---------------------------------------------------------------- memory, import, disk

_IMPORT = "import time; begin = time.perf_counter(); import {}; print((time.perf_counter() - begin) * 1e3)"


def _python(threads_: int, *arguments: str) -> str:
    """What a Python process prints; a ContenderError with its last words if it fails."""
    variables = {"OMP_NUM_THREADS": str(threads_), "OPENBLAS_NUM_THREADS": str(threads_), "KERAS_BACKEND": "tensorflow"}
    package = str(Path(importlib.util.find_spec("rnnext").submodule_search_locations[0]).parent)  # type: ignore[union-attr,index]
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), package]))
    environment = {**os.environ, **variables, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise harness.ContenderError((run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1])
    return run.stdout.splitlines()[-1]


def _answer(name: str, ask: Callable[[], float]) -> float | None:
    """The answer; None, after a line on standard error, if a peer has none."""
    try:
        return ask()
    except harness.ContenderError as error:
        if name == "rnnext":
            raise
        print(f"left out: {name}: {error}", file=sys.stderr)
        return None


def _each(asked: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Spread]:
    """As `Pool.measure`, for processes that answer a single question."""
    working = {name: ask for name, ask in asked.items() if _answer(name, ask) is not None}
    return harness.alternate(working, rounds=rounds)


def _folder_megabytes(module: str) -> float:
    spec = importlib.util.find_spec(module)
    folders = (spec.submodule_search_locations if spec else None) or []
    files = (path for folder in folders for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sum(path.stat().st_size for path in files) / 1e6


def memory(settings: Settings) -> Iterator[Row]:
    """The most memory of the tutorial's training process, the time of an import, the size of a package on disk.

    The process trains on 100 batches and validates on as many, with all reviews in memory. PyTorch flushes denormals, which
    changes nothing but how long that takes.
    """
    steps = min(100, settings.reviews // settings.batch)
    with tempfile.TemporaryDirectory() as folder:
        data, arguments = Path(folder, "reviews.npz"), Path(folder, "arguments.json")
        reviews = _of(settings)
        np.savez(data, x=reviews.padded(settings.steps), y=reviews.labels)

        def peak(module: Any, function: Callable[..., object], **options: Any) -> float:
            arguments.write_text(json.dumps(options), encoding="utf-8")
            line = _python(settings.threads, probe.__file__, module.__file__, function.__name__, str(arguments))
            megabytes: float = json.loads(line)["peak_mb"]
            return megabytes

        for cell in settings.of("lstm", "gru_after"):
            common = {"cell": cell, "sizes": list(settings.sizes), "data": str(data), "steps": steps}
            common |= {"batch": settings.batch, "threads": settings.threads}
            asked = {
                "rnnext": functools.partial(peak, ours, ours.process, **common),
                "torch-ftz": functools.partial(peak, peers, peers.torch_process, **common, flush=True),
                "keras-tf": functools.partial(peak, peers, peers.keras_process, **common),
            }
            wanted = {name: ask for name, ask in asked.items() if name == "rnnext" or name in settings.peers}
            if cell == "gru_before":
                wanted.pop("torch-ftz", None)
            values = _each(wanted, min(settings.rounds, 3))
            if all(value.median for value in values.values()):
                yield Row("memory", f"{cell}, training process", "MB", values)

    modules = {"rnnext": "rnnext", "numpy": "numpy"}
    modules |= {name: _MODULES[name][0] for name in settings.peers if name != "torch-ftz"}
    if "torch-ftz" in settings.peers:
        modules["torch"] = "torch"

    def imported(module: str) -> float:
        return float(_python(settings.threads, "-c", _IMPORT.format(module)))

    asked_import = {name: functools.partial(imported, module) for name, module in modules.items()}
    yield Row("memory", "import", "ms", _each(asked_import, settings.rounds))
    sizes = {name: _folder_megabytes(module) for name, module in modules.items()}
    if "keras-tf" in sizes:
        sizes["keras-tf"] += _folder_megabytes("tensorflow")
    yield Row("memory", "size on disk", "MB", {name: Spread(size, size, size) for name, size in sizes.items()})


_ALL: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "layer": layer,
    "step": step,
    "ragged": ragged,
    "infer": infer,
    "latency": latency,
    "threads": threads,
    "options": options,
    "long": long,
    "memory": memory,
}


def run(name: str, settings: Settings) -> Iterator[Row]:
    """The rows of a suite, one by one."""
    return _ALL[name](settings)
