"""The tutorial's LSTM against its GRU on the IMDB reviews: accuracy, CPU seconds, parameters.

    python examples/lstm_or_gru.py PATH [--limit N] [--epochs 5]

PATH is the folder aclImdb, its archive, or a folder with train.csv and test.csv (compressed or not). The epoch is chosen on a
tenth of the training reviews.
"""

import argparse
import time

import numpy as np

from rnnext.callbacks import EarlyStopping
from rnnext.datasets import imdb
from rnnext.layers import GRU, LSTM, Dense, Embedding
from rnnext.models import Sequential
from rnnext.preprocessing.sequence import pad_sequences
from rnnext.text import TextVectorizer
from rnnext.utils import set_random_seed

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("path", metavar="PATH", help="the IMDB reviews")
parser.add_argument("--limit", metavar="N", type=int, help="use the first N reviews of the training and of the test part")
parser.add_argument("--epochs", metavar="N", type=int, default=5, help="passes over the training part (default: 5)")
options = parser.parse_args()

reviews = imdb(options.path)
vectorizer = TextVectorizer(max_tokens=20000)
X_train = pad_sequences(vectorizer.fit_transform(reviews.train_texts[: options.limit]), maxlen=200)
X_test = pad_sequences(vectorizer.transform(reviews.test_texts[: options.limit]), maxlen=200)
y_train, y_test = reviews.train_labels[: options.limit], reviews.test_labels[: options.limit]

columns = ("layer", "test accuracy", "CPU seconds an epoch", "CPU seconds to predict", "parameters", "of these in the layer")
print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
for layer in (LSTM(units=100), GRU(units=100)):
    set_random_seed(1)
    model = Sequential([Embedding(input_dim=20000, output_dim=128), layer, Dense(units=1, activation="sigmoid")])
    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    begin = time.process_time()
    chosen = EarlyStopping(restore_best_weights=True, patience=options.epochs)
    history = model.fit(
        X_train, y_train, epochs=options.epochs, batch_size=32, validation_split=0.1, callbacks=[chosen], verbose=0
    )
    trained = time.process_time()
    accuracy = ((model.predict(X_test, verbose=0)[:, 0] > 0.5) == y_test).mean()
    best = int(np.argmin(history.history["val_loss"])) + 1
    print(
        f"| {type(layer).__name__} | {accuracy:.2%} (epoch {best}) | {(trained - begin) / options.epochs:.1f}"
        f" | {time.process_time() - trained:.1f} | {model.count_params():,} | {layer.count_params():,} |"
    )
