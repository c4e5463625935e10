"""Time for each real token of ragged batches: the same as `rnnext bench ragged`, with its options."""

import sys

from rnnext.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "ragged", *sys.argv[1:]]))
