"""The IMDB reviews, official split, from raw text to test accuracy.

    python examples/imdb.py PATH [--seed 0] [--models 1]

PATH is the folder aclImdb, its archive, or a folder with train.csv and test.csv (compressed or not). No review is set aside:
the preset's number of epochs was chosen on a validation part of the training reviews. `--models 3` averages three of them.
"""

import argparse
import time

import numpy as np
from bag_of_words import bag_of_words, compare

from rnnext import TextClassifier
from rnnext.datasets import imdb

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("path", metavar="PATH", help="the IMDB reviews")
parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the first model (default: 0)")
parser.add_argument("--models", metavar="N", type=int, default=1, help="how many to average (default: 1)")
options = parser.parse_args()

begin = time.perf_counter()
reviews = imdb(options.path)
found = []
for seed in range(options.seed, options.seed + options.models):
    classifier = TextClassifier(random_state=seed, validation_fraction=0)
    classifier.fit(reviews.train_texts, reviews.train_labels)
    found.append(classifier.predict_proba(reviews.test_texts))
seconds = time.perf_counter() - begin

bag = bag_of_words(reviews.train_texts, reviews.train_labels, reviews.test_texts)
compare(np.mean(found, axis=0), bag, reviews.test_labels, classifier.classes_, seconds)
