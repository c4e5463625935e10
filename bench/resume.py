"""Kill a training again and again (kill -9), resume it each time, and compare its model with that of an uninterrupted run.

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


def start(folder: Path, options: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rnnext", "train", *options, "--resume", "--out", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the run to end and return what it printed; exit if it failed."""
    out, err = process.communicate()
    if process.returncode:
        sys.exit(f"rnnext train ended with {process.returncode}: {err}")
    return out


def kill_after_an_epoch(process: subprocess.Popen[str], rng: random.Random) -> bool:
    """Kill the run within an epoch's time of its next report of one; return False if the run ended by itself first."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Epoch "):
            wait = rng.uniform(0, float(line.split()[3].rstrip("s")))
            time.sleep(wait)
            process.kill()
            process.communicate()
            print(f"killed {wait:.2f} s after {' '.join(line.split()[:2])}")
            return process.returncode < 0
    process.communicate()
    return False


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="movies")
    parser.add_argument("--kills", type=int, default=8)  # a few more than the first training has epochs
    arguments, rest = parser.parse_known_args()
    options = [arguments.data, *rest]
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        whole, parts = Path(scratch, "whole"), Path(scratch, "parts")
        print(finish(start(whole, options)), end="")
        for _ in range(arguments.kills):
            if not kill_after_an_epoch(start(parts, options), rng):
                break
            print(f"  a model is there: {parts.exists()}")
        finish(start(parts, options))
        one, other = digests(whole), digests(parts)
    for name, digest in one.items():
        print(f"{name:<20} {digest[:16]} {other.get(name, 'missing')[:16]}")
    sys.exit("the models differ" if one != other else None)


if __name__ == "__main__":
    main()
