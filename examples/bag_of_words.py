"""What the recipes are measured against: TF-IDF of words and pairs (Chinese: characters and pairs) with logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np


def bag_of_words(texts: Sequence[str], labels: Any, test_texts: Sequence[str], *, characters: bool = False) -> Any:
    """Probabilities for the test texts, [N, classes]; None where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        return None
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    vectorizer = TfidfVectorizer(analyzer="char" if characters else "word", ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    bag = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=1000))
    return bag.fit(texts, labels).predict_proba(test_texts)


def compare(ours: Any, bag: Any, labels: Any, classes: Any, seconds: float) -> None:
    """Print how good the classifier is, the bag of words beside it, and both together: the mean of their probabilities."""

    def accuracy(probabilities: Any) -> str:
        return f"{(classes[probabilities.argmax(axis=1)] == np.asarray(labels)).mean():.2%}"

    print(f"rnnext {accuracy(ours)} in {seconds:.0f} s, from texts to predictions")
    if bag is not None:
        print(f"bag of words {accuracy(bag)}, both together {accuracy((ours + bag) / 2)}")
