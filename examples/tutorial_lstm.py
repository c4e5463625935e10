"""The tutorial's LSTM program on the IMDB reviews, with `keras` replaced by `rnnext`.

    python examples/tutorial_lstm.py PATH [--limit N] [--epochs 5]

PATH is the folder aclImdb, its archive, or a folder with train.csv and test.csv (compressed or not).
"""

import argparse

from rnnext.datasets import imdb
from rnnext.layers import LSTM, Dense, Embedding
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
vectorizer = TextVectorizer(max_tokens=20000).fit(reviews.train_texts[: options.limit])
train_ids = vectorizer.transform(reviews.train_texts[: options.limit])
test_ids = vectorizer.transform(reviews.test_texts[: options.limit])
y_train = reviews.train_labels[: options.limit]
y_test = reviews.test_labels[: options.limit]

# From here on, the program as it is for Keras.
set_random_seed(1)
X_train = pad_sequences(train_ids, maxlen=200)
X_test = pad_sequences(test_ids, maxlen=200)

model = Sequential(
    [
        Embedding(input_dim=20000, output_dim=128, input_length=200),
        LSTM(units=100),
        Dense(units=1, activation="sigmoid"),
    ]
)
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
model.summary()
history = model.fit(X_train, y_train, epochs=options.epochs, batch_size=32, validation_data=(X_test, y_test))

accuracies = history.history["val_accuracy"]
for epoch, accuracy in enumerate(accuracies, 1):
    print(f"epoch {epoch}: test accuracy {accuracy:.2%}")
print(f"best: {max(accuracies):.2%} at epoch {accuracies.index(max(accuracies)) + 1}")
