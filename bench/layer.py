"""Forward and backward of a layer: the same as `rnnext bench layer`, with its options."""

import sys

from rnnext.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "layer", *sys.argv[1:]]))
