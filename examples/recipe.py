"""What the recipes share: classifiers of several seeds, a bag of words beside them, and all of them together."""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from typing import Any

import numpy as np
from bag_of_words import bag_of_words, plain_bag_of_words

from rnnext import TextClassifier


def parser(about: str | None) -> argparse.ArgumentParser:
    """For the options that every recipe has."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seed", metavar="N", type=int, default=0, help="of the first model (default: 0)")
    made.add_argument("--models", metavar="N", type=int, default=1, help="how many to average (default: 1)")
    return made


def compare(train: Any, test: Any, run: Any, *, merged: Any = None, letters: bool = False, **options: Any) -> None:
    """Print the test accuracy of TextClassifiers, of their mean, of bags of words, and of all together.

    `train` and `test` are (texts, labels). Together: the mean of the probabilities. `merged` says which label of the test each
    label of the training belongs to, where those are finer; None: to none. `letters`: also a bag that knows runs of letters and
    the finer labels.
    """
    texts, labels = train
    merged = {label: label for label in np.unique(labels).tolist()} if merged is None else merged
    names = np.unique(test[1])

    def of_names(probabilities: Any, classes: Any) -> Any:
        return probabilities @ np.array([[name == merged[label] for name in names] for label in classes.tolist()])

    def accuracy(probabilities: Any) -> str:
        return f"{(names[probabilities.argmax(axis=1)] == np.asarray(test[1])).mean():.2%}"

    found = []
    for seed in range(run.seed, run.seed + run.models):
        begin = time.perf_counter()
        classifier = TextClassifier(random_state=seed, **options).fit(texts, labels)
        found.append(of_names(classifier.predict_proba(test[0]), classifier.classes_))
        print(f"rnnext, seed {seed}: {accuracy(found[-1])} in {time.perf_counter() - begin:.0f} s, from texts to predictions")
    ours = np.mean(found, axis=0)
    print(f"mean of {len(found)}: {accuracy(ours)}")
    if find_spec("sklearn") is not None:
        known = [(text, merged[label], label) for text, label in zip(texts, labels, strict=True) if merged[label] is not None]
        seen, whose, finer = zip(*known, strict=True)
        unit = classifier.vectorizer_.unit
        plain = plain_bag_of_words(unit).fit(seen, whose)
        print(f"plain bag of words: {accuracy(plain.predict_proba(test[0]))}")
        bags = {"bag of words": bag_of_words(unit).fit(seen, whose).predict_proba(test[0])}
        if letters:
            bag = bag_of_words(unit, letters=True).fit(seen, finer)
            bags["bag of words and letters"] = of_names(bag.predict_proba(test[0]), bag.classes_)
        for title, found_by_bag in bags.items():
            print(f"{title}: {accuracy(found_by_bag)}; all together: {accuracy((ours + found_by_bag) / 2)}")
