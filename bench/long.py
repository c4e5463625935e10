"""Sequences of 2,000 and 10,000 steps: the same as `rnnext bench long`, with its options."""

import sys

from rnnext.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "long", *sys.argv[1:]]))
