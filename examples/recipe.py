"""What the recipes share: classifiers of several seeds, a bag of words beside them, and all of them together."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np

from rnnext import TextClassifier


def parser(about: str | None) -> argparse.ArgumentParser:
    """For the options that every recipe has."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seed", metavar="N", type=int, default=0, help="of the first model (default: 0)")
    made.add_argument("--models", metavar="N", type=int, default=1, help="how many to average (default: 1)")
    return made


def compare(train: Any, test: Any, run: argparse.Namespace, *, merged: Mapping[Any, Any] | None = None, **options: Any) -> None:
    """Print the test accuracy of TextClassifiers, of their mean, of a bag of words, and of all together.

    `train` and `test` are (texts, labels). Together: the mean of the probabilities. `merged` says which label of the test each
    label of the training belongs to, where those are finer.
    """
    names = np.unique(test[1])

    def of_names(probabilities: Any, classes: Any) -> Any:
        belongs = np.array([[name == (merged or {}).get(label, label) for name in names] for label in classes.tolist()])
        return probabilities @ belongs

    def accuracy(probabilities: Any) -> str:
        return f"{(names[probabilities.argmax(axis=1)] == np.asarray(test[1])).mean():.2%}"

    found = []
    for seed in range(run.seed, run.seed + run.models):
        begin = time.perf_counter()
        classifier = TextClassifier(random_state=seed, **options).fit(*train)
        found.append(of_names(classifier.predict_proba(test[0]), classifier.classes_))
        print(f"rnnext, seed {seed}: {accuracy(found[-1])} in {time.perf_counter() - begin:.0f} s, from texts to predictions")
    ours = np.mean(found, axis=0)
    print(f"mean of {len(found)}: {accuracy(ours)}")
    if find_spec("sklearn") is not None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        analyzer = {"char": "char", "word": "word"}[classifier.vectorizer_.unit]
        tokens = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        bag = make_pipeline(tokens, LogisticRegression(C=10, max_iter=1000)).fit(*train)
        theirs = of_names(bag.predict_proba(test[0]), bag.classes_)
        print(f"bag of words: {accuracy(theirs)}; all together: {accuracy((ours + theirs) / 2)}")
