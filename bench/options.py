"""What an option of a layer costs: the same as `rnnext bench options`, with its options."""

import sys

from rnnext.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "options", *sys.argv[1:]]))
