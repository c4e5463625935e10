"""The command line: train a text classifier, use, measure, explain and convert it. Heavy imports are inside the commands.

Results go to standard output, progress to standard error. Exit codes: 0, done; 2, bad input, explained in one line; 130,
interrupted; 141, nobody reads the output any more; 1, with a traceback, a mistake of rnnext's own.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from rnnext.cli._parser import BAD_INPUT, make_parser
from rnnext.cli._printable import printable

__all__ = ["main"]

_INTERRUPTED, _CLOSED_PIPE = 130, 141  # as shells have it: 128 + the signal's number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller: treated as empty, or as read by nobody
            setattr(sys, name, open(os.devnull, mode, errors="replace"))  # noqa: SIM115
    try:
        options = _options(list(sys.argv[1:] if argv is None else argv))
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a long run must not end at half a surrogate pair in a text
        options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _give_up_output()
        return _CLOSED_PIPE
    except MemoryError as error:
        return _refused(f"out of memory. {error}")
    except (ValueError, OSError, RuntimeError) as error:
        return _refused(str(error))
    return 0


def _options(words: list[str]) -> argparse.Namespace:
    """The parsed command line. SystemExit where that is all there is to do, as for --help."""
    parser = make_parser()
    try:
        options, rest = parser.parse_known_args(words)
    except SystemExit:
        sys.stdout.flush()  # what fails here must not fail when the interpreter exits
        raise
    if rest and getattr(options, "texts", None) == []:  # predict DIR --json TEXT: argparse's lists end at the first option
        dashes = words.index("--") if "--" in words else len(words)
        _, before = parser.parse_known_args(words[:dashes])
        if not any(word.startswith("-") for word in before):
            options.texts, rest = [*before, *words[dashes + 1 :]], []
    if rest:
        options.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _refused(message: str) -> int:
    print(f"rnnext: error: {' '.join(printable(message).split())}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        _give_up_output()
    return BAD_INPUT


def _give_up_output() -> None:
    """Nobody takes the output any more. What is still buffered must not fail again when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
