"""Sequences a second through predict: the same as `rnnext bench infer`, with its options."""

import sys

from rnnext.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "infer", *sys.argv[1:]]))
