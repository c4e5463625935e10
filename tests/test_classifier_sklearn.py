"""TextClassifier in scikit-learn's hands: clone, pipelines, cross-validation, search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnext import TextClassifier

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone, is_classifier  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402
from sklearn.utils.validation import check_is_fitted  # noqa: E402

TEXTS = [f"{'good' if n % 2 else 'bad'} w{n % 7} w{n % 5}" for n in range(60)]
LABELS = ["pos" if n % 2 else "neg" for n in range(60)]
SMALL: dict[str, Any] = {"units": 4, "embedding_dim": 6, "epochs": 6, "batch_size": 4, "learning_rate": 0.02, "random_state": 1}
SMALL |= {"word_dropout": 0.1, "input_dropout": 0.0, "bigrams": 50, "label_smoothing": 0.0, "dropout": 0.1}


def shouted(texts: list[str]) -> list[str]:
    return [text.upper() for text in texts]


def test_it_is_a_classifier() -> None:
    classifier = TextClassifier(**SMALL)
    assert is_classifier(classifier)
    tags = classifier.__sklearn_tags__()
    assert tags.input_tags.string
    assert tags.target_tags.required
    with pytest.raises(NotFittedError):
        check_is_fitted(classifier)
    check_is_fitted(classifier.fit(TEXTS, LABELS))


def test_clone_and_parameters() -> None:
    classifier = TextClassifier(**SMALL, class_weight={"pos": 2.0}).fit(TEXTS, LABELS)
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params()
    assert not hasattr(copy, "model_")
    assert copy.set_params(units=3, lang="zh") is copy
    assert (copy.units, copy.lang) == (3, "zh")
    with pytest.raises(ValueError, match=r"no parameter 'size', expected one of .*units"):
        copy.set_params(size=3)
    assert repr(TextClassifier(units=3)) == "TextClassifier(units=3)"


def test_a_pipeline() -> None:
    pipeline = make_pipeline(FunctionTransformer(shouted), TextClassifier(**SMALL))
    pipeline.fit(TEXTS, LABELS, textclassifier__sample_weight=np.ones(60))
    assert pipeline.score(TEXTS, LABELS) > 0.9
    assert pipeline.predict_proba(TEXTS[:3]).shape == (3, 2)
    assert pipeline.classes_.tolist() == ["neg", "pos"]


def test_cross_validation() -> None:
    scores = cross_val_score(TextClassifier(**SMALL), np.array(TEXTS), LABELS, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.8
    losses = cross_val_score(TextClassifier(**SMALL), TEXTS, LABELS, cv=2, scoring="neg_log_loss")
    assert (losses > -0.7).all()


def test_a_search_in_two_processes() -> None:
    grid = {"units": [3, 5]}
    search, alone = (
        GridSearchCV(TextClassifier(**SMALL), grid, cv=2, n_jobs=jobs, error_score="raise").fit(TEXTS, LABELS)
        for jobs in (2, 1)
    )
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert search.score(TEXTS, LABELS) > 0.8
    np.testing.assert_array_equal(search.predict_proba(TEXTS), alone.predict_proba(TEXTS))
