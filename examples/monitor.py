"""A score that moves with each word of a text that is still arriving: a chat, a transcript, a log.

    python examples/monitor.py MODEL --train DATA    # once; DATA: movies, products, a file, or the folder of the IMDB reviews
    some-program | python examples/monitor.py MODEL  # the score after each line; an empty line begins a new text

A word costs the same however many came before it: one step of the recurrent layer, a running maximum and a running mean.
"""

import argparse
import sys

import numpy as np

from rnnext import TextClassifier, datasets
from rnnext.layers import GRU, LSTM, BigramEmbedding, ConcatPooling1D, Dense, Dropout


class Monitor:
    """What `predict_proba` gives for all that was read, had it no `maxlen`; of a classifier that reads left to right."""

    def __init__(self, classifier: TextClassifier) -> None:
        self.classifier = classifier
        layers = [layer for layer in classifier.model_.layers if not isinstance(layer, Dropout)]
        if [type(layer) for layer in layers] not in ([BigramEmbedding, cell, ConcatPooling1D, Dense] for cell in (LSTM, GRU)):
            raise SystemExit("this model does not read from left to right; make one with --train")
        self.embedding, self.recurrent, _, self.head = layers
        self.before, self.count, self.state, self.greatest, self.mean = 0, 0, None, np.float32(-np.inf), np.float32(0)

    def read(self, word: str) -> None:
        for number in self.classifier.vectorizer_.transform([word])[0]:
            x = self.embedding(np.array([[self.before, number]], np.int32))[:, 1]  # the word's, its pair with the last one's
            self.state = self.recurrent.step(x, self.state)
            h, self.before, self.count = self.state[0], number, self.count + 1
            self.greatest, self.mean = np.maximum(self.greatest, h), self.mean + (h - self.mean) / np.float32(self.count)

    def probabilities(self) -> np.ndarray:
        y = self.head(np.concatenate([self.state[0], self.greatest, self.mean], axis=1))[0]
        return np.concatenate([1 - y, y]) if len(y) == 1 else y


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="folder of the classifier")
    parser.add_argument("--train", metavar="DATA", help="make it from these texts")
    options = parser.parse_args()
    if options.train:
        data = datasets.load(options.train)
        train, test = (np.array(data.label_names)[numbers] for numbers in (data.train_labels, data.test_labels))
        classifier = TextClassifier(bidirectional=False, wide=False, random_state=0).fit(data.train_texts, train)
        classifier.save(options.model)
        print(f"accuracy {classifier.score(data.test_texts, test):.1%}, saved in {options.model}")
    classifier = TextClassifier.load(options.model)
    monitor = Monitor(classifier)
    for line in () if options.train else sys.stdin:
        monitor = monitor if line.strip() else Monitor(classifier)
        for word in line.split():
            monitor.read(word)
        if monitor.count:
            p = monitor.probabilities()
            print(f"{classifier.classes_[p.argmax()]} {p.max():.3f}  {line.strip()}", flush=True)
