"""The memory and the speed of `rnnext predict --file` on a file of a million rows, and on a smaller one.

python bench/stream.py [MODEL] [--rows 10000 1000000]   # without MODEL, a small one is trained on movie sentences
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rnnext import datasets

RNNEXT = [sys.executable, "-m", "rnnext"]


def write(path: Path, rows: int, texts: list[str]) -> None:
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            file.write(json.dumps({"id": number, "text": rng.choice(texts)}) + "\n")


def predict(model: str, path: Path) -> tuple[int, float, float]:
    """Run `rnnext predict`; return the number of lines it printed, the seconds it took and its peak memory in MB."""
    begin, lines = time.perf_counter(), 0
    with subprocess.Popen(
        [*RNNEXT, "predict", model, "--file", str(path), "--text", "text"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in process.stdout:
            lines += 1
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"rnnext predict ended with {process.returncode}")
    return lines, time.perf_counter() - begin, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    options = parser.parse_args()
    texts = datasets.load("movies").test_texts
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model or str(Path(scratch, "model"))
        if not options.model:
            small = ["--epochs", "1", "--units", "32", "--embedding", "32", "--out", model]
            subprocess.run([*RNNEXT, "train", "movies", *small], check=True, stderr=subprocess.DEVNULL)
        path = Path(scratch, "texts.jsonl")
        for rows in options.rows:
            write(path, rows, texts)
            lines, seconds, peak = predict(model, path)
            size = path.stat().st_size / 1e6
            print(f"{lines:,} rows, {size:.0f} MB: {seconds:.1f} s, {lines / seconds:,.0f} rows a second, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
