"""Where a command may write, and where its last line belongs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO


def check_output(out: Path, model: str | os.PathLike[str], data: str | os.PathLike[str] | None = None) -> None:
    """ValueError if writing `out` would replace what the command reads, or put a file beside those of the model."""
    place = Path(os.path.realpath(out))
    if data is not None and place == Path(os.path.realpath(data)):
        raise ValueError(f"{out}: is what is read, expected another file to be written")
    if place.parent == Path(os.path.realpath(model)):
        raise ValueError(f"{out}: is in the model's folder, expected a file elsewhere")


def beside(out: Path) -> TextIO:
    """Where to say that `out` is written: standard output, unless that is `out` itself."""
    try:
        same = os.path.samestat(os.stat(out), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # no such file yet, or an output that is no file
        same = False
    return sys.stderr if same else sys.stdout
