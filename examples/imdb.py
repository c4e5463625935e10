"""The IMDB reviews, official split, from raw text to test accuracy.

    python examples/imdb.py PATH [--seed 0] [--models 1]

PATH is the folder aclImdb, its archive, or a folder with train.csv and test.csv (compressed or not). No review is set aside:
the preset's number of epochs was chosen earlier, on a validation part of the training reviews.
"""

import time

import recipe

from rnnext.datasets import imdb

parser = recipe.parser(__doc__)
parser.add_argument("path", metavar="PATH", help="the IMDB reviews")
options = parser.parse_args()

begin = time.perf_counter()
data = imdb(options.path)
print(f"read in {time.perf_counter() - begin:.0f} s")
train, test = (data.train_texts, data.train_labels), (data.test_texts, data.test_labels)
recipe.compare(train, test, options, validation_fraction=0)
