"""Train on a token file that is larger than the memory that training takes; the file is made for the run, then deleted.

python bench/corpus.py [--gigabytes 2] [--steps 1000]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rnnext import Sequential
from rnnext.callbacks import LambdaCallback
from rnnext.data import TokenFile, TokenWriter
from rnnext.layers import LSTM, Dense, Embedding
from rnnext.utils import set_random_seed

WORDS, LENGTH = 20_000, 200


def megabytes() -> float:
    """Return the peak memory of this process in MB; mapped pages of the file count as well."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def texts(rows: int) -> Iterator[tuple[npt.NDArray[np.int32], int]]:
    """Rows of Zipf-like word ids, each with its label: 1 if word 10 occurs more often in it than word 11, else 0."""
    rng = np.random.default_rng(0)
    for _ in range(0, rows, 1000):
        ids = (WORDS ** rng.random((1000, LENGTH), dtype=np.float32)).astype(np.int32)
        yield from zip(ids, ((ids == 10).sum(1) > (ids == 11).sum(1)).tolist(), strict=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    rows = int(options.gigabytes * 1e9 / 4 / LENGTH) // 1000 * 1000 + 1000
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "corpus.tokens")
        begin = time.perf_counter()
        with TokenWriter(path) as writer:
            for ids, label in texts(rows):
                writer.add(ids, int(label))
        file = TokenFile(path)
        size = path.stat().st_size / 1e9
        print(f"written: {len(file):,} texts, {size:.2f} GB, {time.perf_counter() - begin:.0f} s, peak {megabytes():.0f} MB")

        set_random_seed(0)
        model = Sequential([Embedding(WORDS + 1, 64), LSTM(64), Dense(1, "sigmoid")])
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])

        def stop(batch: int, logs: dict[str, float]) -> None:
            model.stop_training = batch + 1 >= options.steps

        begin = time.perf_counter()
        history = model.fit(file, batch_size=32, callbacks=[LambdaCallback(on_train_batch_end=stop)], verbose=0).history
        seconds = time.perf_counter() - begin
        print(
            f"trained: {options.steps} steps of 32 texts from all of the file, {seconds:.0f} s, loss {history['loss'][0]:.4f},"
            f" peak {megabytes():.0f} MB"
        )


if __name__ == "__main__":
    main()
