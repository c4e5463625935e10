"""Reviews at their full length, up to 2,500 words, in little memory: segments are computed again on the way back.

    python examples/long_documents.py PATH [--segment 100 [--truncate]] [--maxlen N] [--limit N]

PATH is the folder aclImdb, its archive, or a folder with train.csv and test.csv (compressed or not). Without --segment every
step is recorded; with --truncate no gradient crosses the border of two segments, while states do.
"""

import argparse
import resource
import time

import numpy as np

from rnnext.datasets import imdb
from rnnext.layers import LSTM, BigramEmbedding, ConcatPooling1D, Dense, Dropout, frequent_pairs
from rnnext.models import Sequential
from rnnext.optimizers import AdamW
from rnnext.optimizers.schedules import OneCycle
from rnnext.text import TextVectorizer
from rnnext.utils import set_random_seed

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("path", metavar="PATH", help="the IMDB reviews")
parser.add_argument("--segment", metavar="N", type=int, help="steps between two states that are kept (default: all are)")
parser.add_argument("--truncate", action="store_true", help="end gradients at the segments' borders")
parser.add_argument("--maxlen", metavar="N", type=int, help="read the last N words of a review (default: all)")
parser.add_argument("--limit", metavar="N", type=int, help="use the first N reviews of the training and of the test part")
options = parser.parse_args()
epochs, batch_size, megabytes = 2, 32, lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

reviews = imdb(options.path)
vectorizer = TextVectorizer(30000, min_count=2, maxlen=options.maxlen)
train = vectorizer.fit_transform(reviews.train_texts[: options.limit])
y_train, y_test = reviews.train_labels[: options.limit], reviews.test_labels[: options.limit]

set_random_seed(0)
drop = {"dropout": 0.5, "bigrams_dropout": 0.5}
model = Sequential(
    [
        BigramEmbedding(vectorizer.vocabulary_size, 64, pairs=frequent_pairs(train, 200_000), **drop),
        LSTM(96, return_sequences=True, segment=options.segment, truncate=options.truncate),
        ConcatPooling1D(),
        Dropout(0.5),
        Dense(1, activation="sigmoid"),
    ]
)
rate = OneCycle(0.004, epochs * -(-len(train) // batch_size))
model.compile(AdamW(rate, global_clipnorm=1.0), "binary_crossentropy", metrics=["accuracy"])
model.train_on_batch([row[:1] for row in train[:batch_size]], y_train[:batch_size])
before, begin = megabytes(), time.perf_counter()
model.fit(train, y_train, epochs=epochs, batch_size=batch_size, pool=50, verbose=0)
print(f"longest {max(map(len, train)):,} words; trained in {time.perf_counter() - begin:.0f} s", end=", ")
print(f"with {megabytes() - before:.0f} MB more than texts and model take")
right = (model.predict(vectorizer.transform(reviews.test_texts[: options.limit]), verbose=0)[:, 0] > 0.5) == y_test
words = np.array([len(text.split()) for text in reviews.test_texts[: options.limit]])
long = words >= np.quantile(words, 0.9)
print(f"accuracy {right.mean():.2%}; of the longest tenth, {words[long].min():,} words and more, {right[long].mean():.2%}")
