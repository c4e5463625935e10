"""Reviews or questions in files that are divided already: Chinese reviews, six types of questions, sentences.

    python examples/divided.py TRAIN TEST [--lang en] [--vectors FILE] [--seed 0] [--models 1]
    python examples/divided.py FILE [--lang zh]

Files have the columns text and label (CSV, TSV, JSON lines, compressed or not). One file alone is divided by a column `split`
that says train, dev or test; dev is not used.
"""

import argparse
import time

import numpy as np
from bag_of_words import bag_of_words, compare

from rnnext import TextClassifier
from rnnext.datasets import read_file

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("files", metavar="FILE", nargs="+", help="the texts: one file, or one to learn from and one to test on")
parser.add_argument("--lang", choices=("en", "zh"), default="en", help="language of the texts (default: en)")
parser.add_argument("--vectors", metavar="FILE", help="word vectors: .npz or GloVe's text")
parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the first model (default: 0)")
parser.add_argument("--models", metavar="N", type=int, default=1, help="how many to average (default: 1)")
options = parser.parse_args()

texts, labels = read_file(options.files[0], text="text", label="label")
if len(options.files) > 1:
    test_texts, test_labels = read_file(options.files[1], text="text", label="label")
else:
    _, parts = read_file(options.files[0], text="text", label="split")
    rows = list(zip(texts, labels, parts, strict=True))
    test_texts, test_labels = zip(*[(text, label) for text, label, part in rows if part == "test"], strict=True)
    texts, labels = zip(*[(text, label) for text, label, part in rows if part == "train"], strict=True)

begin = time.perf_counter()
found = []
for seed in range(options.seed, options.seed + options.models):
    classifier = TextClassifier(lang=options.lang, vectors=options.vectors, random_state=seed).fit(texts, labels)
    found.append(classifier.predict_proba(test_texts))
seconds = time.perf_counter() - begin

bag = bag_of_words(texts, labels, test_texts, characters=options.lang == "zh")
compare(np.mean(found, axis=0), bag, test_labels, classifier.classes_, seconds)
