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
    label of the training belongs to, where those are finer; None: to none. `letters` gives the bag runs of letters, too.
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
        known = [(text, merged[label]) for text, label in zip(texts, labels, strict=True) if merged[label] is not None]
        unit = classifier.vectorizer_.unit

        def of_bag(pipeline: Any) -> Any:
            return pipeline.fit(*zip(*known, strict=True)).predict_proba(test[0])

        print(f"plain bag of words: {accuracy(of_bag(plain_bag_of_words(unit)))}")
        for with_letters in (False, True) if letters else (False,):
            bag = of_bag(bag_of_words(unit, letters=with_letters))
            title = "bag of words and letters" if with_letters else "bag of words"
            print(f"{title}: {accuracy(bag)}; all together: {accuracy((ours + bag) / 2)}")
