"""A training step of the tutorial's model, tokens to updated weights, beside PyTorch's and Keras's.

    python bench/step.py [--data IMDB] [--cells lstm gru] [--threads 2] [--rounds 20] [--keep-denormals] [--json FILE]

Embedding(20000, 128) → LSTM(100) or GRU(100) → Dense(1), batch 32, length 200, left-padded as `pad_sequences` does, Adam. With
--data (anything that rnnext.datasets.imdb reads) the tokens are IMDB's, else they are drawn by Zipf's law. PyTorch runs with
denormals flushed unless --keep-denormals is given, which is PyTorch as it comes. Keras is measured if it is installed, on the
backend that KERAS_BACKEND names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np

import rnnext
from rnnext.preprocessing.sequence import pad_sequences

VOCABULARY, EMBEDDING, UNITS, BATCH, STEPS = 20_000, 128, 100, 32, 200
Batches = list[tuple[np.ndarray, np.ndarray]]


def zipf_batches(count: int) -> Batches:
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(count):
        texts = [np.minimum(rng.zipf(1.2, rng.integers(60, 400)) + 1, VOCABULARY - 1) for _ in range(BATCH)]
        batches.append((pad_sequences(texts, maxlen=STEPS), rng.integers(0, 2, BATCH).astype(np.float32)))
    return batches


def imdb_batches(path: Path, count: int) -> Batches:
    from rnnext import datasets
    from rnnext.text import TextVectorizer

    data = datasets.imdb(path)
    texts, labels = list(data.train_texts), np.asarray(data.train_labels, np.float32)
    ids = TextVectorizer(max_tokens=VOCABULARY).fit(texts).transform(texts)
    order = np.random.default_rng(0).permutation(len(ids))[: count * BATCH].reshape(count, BATCH)
    return [(pad_sequences([ids[i] for i in rows], maxlen=STEPS), labels[rows]) for rows in order]


def our_step(cell: str, batches: Batches) -> Callable[[], object]:
    recurrent = rnnext.layers.LSTM(UNITS) if cell == "lstm" else rnnext.layers.GRU(UNITS)
    model = rnnext.Sequential(
        [rnnext.layers.Embedding(VOCABULARY, EMBEDDING), recurrent, rnnext.layers.Dense(1, activation="sigmoid")]
    )
    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    queue = iter(batches * 1000)
    return lambda: model.train_on_batch(*next(queue))


def torch_step(cell: str, batches: Batches, threads: int, keep_denormals: bool) -> Callable[[], object] | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    torch.set_flush_denormal(not keep_denormals)
    embedding = torch.nn.Embedding(VOCABULARY, EMBEDDING)
    recurrent = (torch.nn.LSTM if cell == "lstm" else torch.nn.GRU)(EMBEDDING, UNITS, batch_first=True)
    head = torch.nn.Linear(UNITS, 1)
    optimizer = torch.optim.Adam([*embedding.parameters(), *recurrent.parameters(), *head.parameters()])
    loss = torch.nn.BCEWithLogitsLoss()
    queue = iter([(torch.tensor(x, dtype=torch.long), torch.tensor(y)) for x, y in batches] * 1000)

    def run() -> object:
        x, y = next(queue)
        optimizer.zero_grad()
        states, _ = recurrent(embedding(x))
        value = loss(head(states[:, -1])[:, 0], y)
        value.backward()
        optimizer.step()
        return value.item()

    return run


def keras_step(cell: str, batches: Batches) -> Callable[[], object] | None:
    try:
        import keras
    except ImportError:
        return None
    recurrent = keras.layers.LSTM(UNITS) if cell == "lstm" else keras.layers.GRU(UNITS)
    model = keras.Sequential(
        [keras.layers.Embedding(VOCABULARY, EMBEDDING), recurrent, keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    queue = iter(batches * 1000)
    return lambda: model.train_on_batch(*next(queue))


def measure(cell: str, batches: Batches, args: argparse.Namespace) -> dict[str, Any]:
    contenders: dict[str, Callable[[], object] | None] = {
        "rnnext": our_step(cell, batches),
        "torch": torch_step(cell, batches, args.threads, args.keep_denormals),
        "keras": keras_step(cell, batches) if args.keras else None,
    }
    times = harness.alternate({name: run for name, run in contenders.items() if run is not None}, rounds=args.rounds)
    ours = times["rnnext"]["median_ms"]
    ratios = {f"over_{name}": t["median_ms"] / ours for name, t in times.items() if name != "rnnext"}
    return {"cell": cell, "times": times, **ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru"], choices=["lstm", "gru"])
    parser.add_argument("--threads", type=int, default=rnnext.get_num_threads())
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--keep-denormals", action="store_true")
    parser.add_argument("--keras", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rnnext.set_num_threads(args.threads)
    facts = harness.machine(args.threads) | {"denormals": "kept" if args.keep_denormals else "flushed"}
    batches = imdb_batches(args.data, 50) if args.data else zipf_batches(50)
    print(f"{facts['processor']}, {facts['isa']}, {args.threads} threads, peers' denormals {facts['denormals']}")
    rows = []
    for cell in args.cells:
        row = measure(cell, batches, args)
        rows.append(row)
        for name, t in row["times"].items():
            ratio = f"{row[f'over_{name}']:8.2f}x" if name != "rnnext" else ""
            print(f"{cell:<5} {name:<7} {t['median_ms']:8.1f} ms ({t['min_ms']:.1f}-{t['max_ms']:.1f}){ratio}", flush=True)
    harness.write_json(args.json, facts, rows)


if __name__ == "__main__":
    main()
