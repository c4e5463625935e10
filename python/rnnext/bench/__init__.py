"""`rnnext bench`: what this machine can do, what rnnext does on it, and what others do on it, in one run."""

from __future__ import annotations

import argparse
from pathlib import Path

CELLS = ("lstm", "gru_after", "gru_before")
PEERS = {
    "torch": "PyTorch as it comes",
    "torch-ftz": "PyTorch, denormals flushed",
    "keras-tf": "Keras on TensorFlow",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
SUITES = {
    "layer": "forward and backward of a layer",
    "step": "a training step of the tutorial's model",
    "ragged": "time for each real token of ragged batches",
    "infer": "sequences a second through predict",
    "latency": "one sequence at a time",
    "threads": "all threads over one",
    "options": "what an option of a layer costs, over the plain layer",
    "long": "sequences of 2,000 and 10,000 steps",
    "memory": "memory of the tutorial's training process, import time, size on disk",
}


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is out of range, expected at least 1")
    return value


_count.__name__ = "whole number"  # what argparse calls it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    suites = "; ".join(f"{name}: {about}" for name, about in SUITES.items())
    what = f"{suites}; or: compare BEFORE.json AFTER.json"
    parser.add_argument("what", metavar="SUITE", nargs="+", help=what)
    shapes = "of layer (default: ABCD), threads (default: AB) and options (default: A): letters, deepbench, or T,B,I,H"
    parser.add_argument("--shapes", help=shapes)
    parser.add_argument("--cells", nargs="+", choices=CELLS, help="recurrent layers (default: all, or those of the suite)")
    peers = ", ".join(f"{name} ({about})" for name, about in PEERS.items())
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=[*PEERS, "none"],
        default=list(PEERS),
        help=f"where they are installed and a suite has work for them: {peers}; or none",
    )
    parser.add_argument("--threads", metavar="N", type=_count, help="of everyone (default: as rnnext info says)")
    parser.add_argument(
        "--rounds", metavar="N", type=_count, default=15, help="turns of each contender, after a first one (default: 15)"
    )
    parser.add_argument("--data", metavar="IMDB", type=Path, help="the IMDB reviews (default: drawn by Zipf's law)")
    parser.add_argument("--epoch", action="store_true", help="step: also one epoch of 25,000 reviews")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what was measured")
    parser.add_argument("--plot", metavar="DIR", type=Path, help="draw bars and a roofline (needs matplotlib)")


def run(options: argparse.Namespace) -> None:
    """Do what the arguments say. ValueError where they do not fit."""
    from rnnext.bench import report

    if options.what[0] == "compare":
        if len(options.what) != 3:
            raise ValueError(f"bench compare: got {len(options.what) - 1} files, expected two, BEFORE.json AFTER.json")
        for line in report.comparison(*(Path(name) for name in options.what[1:])):
            print(line)
        return
    for name in options.what:
        if name not in SUITES:
            raise ValueError(f"bench: no suite {name!r}, expected some of {', '.join(SUITES)}, or compare")
    if options.data is not None and not options.data.exists():
        raise ValueError(f"bench: {options.data}: no such file or folder")
    from rnnext import get_num_threads
    from rnnext.bench import harness, suites

    settings = suites.Settings(
        threads=options.threads or get_num_threads(),
        rounds=options.rounds,
        cells=None if options.cells is None else tuple(options.cells),
        peers=tuple(suites.installed(name for name in options.peers if name != "none")),
        shapes=None if options.shapes is None else suites.shapes(options.shapes),
        data=options.data,
        epoch=options.epoch,
    )
    if options.plot is not None:
        report.require_matplotlib()
        if options.plot.exists() and not options.plot.is_dir():
            raise ValueError(f"bench: --plot is {options.plot}, which is a file, expected a folder")
    if options.json is not None and (options.json.is_dir() or not options.json.absolute().parent.is_dir()):
        raise ValueError(f"bench: --json is {options.json}, expected a file in a folder that exists")
    if options.plot is not None:
        options.plot.mkdir(parents=True, exist_ok=True)  # before anything is measured, as it may not be possible
    facts = harness.machine(settings.threads)
    print(report.headline(facts))
    rows: list[harness.Row] = []
    for name in dict.fromkeys(options.what):
        print(f"\n{name}: {SUITES[name]}")
        for row in suites.run(name, settings):
            rows.append(row)
            print(report.line(row), flush=True)
            if options.json is not None:  # after each row, so that an interrupted run keeps what it has measured
                harness.write_json(options.json, facts, rows)
    if options.plot is not None:
        for path in report.plot(options.plot, facts, rows):
            print(f"drawn: {path}")
