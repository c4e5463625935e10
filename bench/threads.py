"""All threads over one: the same as `rnnext bench threads`, with its options."""

import sys

from rnnext.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "threads", *sys.argv[1:]]))
