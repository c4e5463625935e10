"""Kill a training again and again (kill -9), let it go on each time, and compare the model with that of a run nobody stopped.

python bench/resume.py [DATASET|FILE] [--kills N] [further options of `rnnext train`]
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def train(folder: Path, options: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rnnext", "train", *options, "--resume", "--out", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def finished(process: subprocess.Popen[str]) -> str:
    """What a run that ended well has printed."""
    out, _ = process.communicate()
    if process.returncode:
        sys.exit(f"rnnext train ended with {process.returncode}")
    return out


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="movies")
    parser.add_argument("--kills", type=int, default=5)
    arguments, rest = parser.parse_known_args()
    options = [arguments.data, *rest]
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        whole, parts = Path(scratch, "whole"), Path(scratch, "parts")
        begin = time.perf_counter()
        print(finished(train(whole, options)), end="")
        seconds = time.perf_counter() - begin
        for _ in range(arguments.kills):
            process, wait = train(parts, options), rng.uniform(0.2, 0.9) * seconds
            try:
                process.wait(wait)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                print(f"killed after {wait:.1f} s of {seconds:.1f} s; a model is there: {parts.exists()}")
            else:
                process.communicate()
                print("ended before it was killed")
                break
        finished(train(parts, options))
        one, other = digests(whole), digests(parts)
    for name, digest in one.items():
        print(f"{name:<20} {digest[:16]} {other.get(name, 'missing')[:16]}")
    sys.exit("the models differ" if one != other else None)


if __name__ == "__main__":
    main()
