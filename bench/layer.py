"""Forward and backward of one recurrent layer, as a user calls it, beside PyTorch's.

    python bench/layer.py [--shapes ABCD] [--cells lstm gru_after gru_before] [--threads 2] [--rounds 15] [--json FILE]

Operations are counted as 3 · 2 · T · B · (I + H) · G · H: the two products of a step, forward, and backward for inputs and
weights. PyTorch runs with denormals flushed; its GRU has no reset-before form.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np

import rnnext
from rnnext import layers

SHAPES = {  # T, B, I, H
    "A": (200, 32, 128, 100),
    "B": (100, 64, 256, 256),
    "C": (25, 32, 512, 512),
    "D": (50, 64, 1024, 1024),
}
CELLS = {"lstm": 4, "gru_after": 3, "gru_before": 3}


def our_layer(cell: str, x: np.ndarray, dy: np.ndarray, units: int) -> Callable[[], object]:
    make: dict[str, Callable[[], layers.Layer]] = {
        "lstm": lambda: layers.LSTM(units, return_sequences=True),
        "gru_after": lambda: layers.GRU(units, return_sequences=True),
        "gru_before": lambda: layers.GRU(units, return_sequences=True, reset_after=False),
    }
    layer = make[cell]()

    def run() -> object:
        _, backprop = layer.forward(x, training=True)
        return backprop(dy)

    return run


def torch_layer(cell: str, x: np.ndarray, dy: np.ndarray, units: int, threads: int) -> Callable[[], object] | None:
    try:
        import torch
    except ImportError:
        return None
    if cell == "gru_before":
        return None
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    module = (torch.nn.LSTM if cell == "lstm" else torch.nn.GRU)(x.shape[2], units, batch_first=True)
    inputs = torch.tensor(x, requires_grad=True)
    upstream = torch.tensor(dy)

    def run() -> object:
        module.zero_grad()
        inputs.grad = None
        y, _ = module(inputs)
        y.backward(upstream)
        return inputs.grad

    return run


def measure(shape: str, cell: str, threads: int, rounds: int, peak: float) -> dict[str, Any]:
    steps, batch, inputs, units = SHAPES[shape]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, steps, inputs), np.float32)
    dy = rng.standard_normal((batch, steps, units), np.float32)
    contenders = {"rnnext": our_layer(cell, x, dy, units)}
    if (peer := torch_layer(cell, x, dy, units, threads)) is not None:
        contenders["torch"] = peer
    times = harness.alternate(contenders, rounds=rounds)
    gflop = 6e-9 * steps * batch * (inputs + units) * CELLS[cell] * units
    rate = gflop / times["rnnext"]["median_ms"] * 1e3
    row: dict[str, Any] = {"shape": shape, "cell": cell, "times": times, "gflops": rate, "share_of_peak": rate * 1e9 / peak}
    if "torch" in times:
        row["over_torch"] = times["torch"]["median_ms"] / times["rnnext"]["median_ms"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="ABCD")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--threads", type=int, default=rnnext.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rnnext.set_num_threads(args.threads)
    facts = harness.machine(args.threads)
    print(f"{facts['processor']}, {facts['isa']}, {args.threads} threads, FMA peak {facts['fma_peak_gflops']:.0f} GF/s")
    print("shape cell          rnnext ms (min-max)        GF/s  of peak   torch ms   over torch")
    rows = []
    for shape in args.shapes:
        for cell in args.cells:
            row = measure(shape, cell, args.threads, args.rounds, facts["fma_peak_gflops"] * 1e9)
            rows.append(row)
            ours = row["times"]["rnnext"]
            line = f"{shape:<5} {cell:<11} {ours['median_ms']:9.1f} ({ours['min_ms']:.1f}-{ours['max_ms']:.1f})".ljust(44)
            line += f"{row['gflops']:6.0f} {row['share_of_peak']:8.0%}"
            if "over_torch" in row:
                line += f" {row['times']['torch']['median_ms']:10.1f} {row['over_torch']:10.2f}x"
            print(line, flush=True)
    harness.write_json(args.json, facts, rows)


if __name__ == "__main__":
    main()
