"""Memory of the tutorial's training process, import time, size on disk: the same as `rnnext bench memory`, with its options."""

import sys

from rnnext.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "memory", *sys.argv[1:]]))
