"""Words that are rare: how often they are dropped, in files; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import TextClassifier
from rnnext.classifier._presets import settings_for

TRAIN = [(f"it is {start}{n:02}", kind) for kind, start in enumerate(("glor", "drea")) for n in range(25)]
VECTORS = {text.split()[-1]: [float(kind), 1.0] for text, kind in TRAIN}
SMALL: dict[str, Any] = {"units": 5, "embedding_dim": 6, "epochs": 8, "batch_size": 8, "learning_rate": 0.02, "random_state": 0}
SMALL |= {"validation_fraction": 0.0, "verbose": 0}


def fitted(**options: Any) -> TextClassifier:
    return TextClassifier(**{**SMALL, **options}).fit(*zip(*TRAIN, strict=True))


def test_rare_words_are_dropped_oftener(tmp_path: Path) -> None:
    classifier = fitted(rare_dropout=3, word_dropout=0.1)
    embedding: Any = classifier.model_.layers[0]
    assert classifier.vectorizer_.vocabulary[2:4] == ["it", "is"]
    np.testing.assert_allclose(embedding.dropout[2:], [0.1, 0.1, *[3 / 4] * 50])  # 50 times each, and once
    classifier.save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model")
    assert loaded.rare_dropout == 3
    again: Any = loaded.model_.layers[0]
    np.testing.assert_array_equal(again.dropout, embedding.dropout)
    texts = [text for text, _ in TRAIN]
    np.testing.assert_array_equal(loaded.predict_proba(texts), classifier.predict_proba(texts))


def test_their_given_vectors_stay() -> None:
    trained, given = (branch[0] for branch in fitted(vectors=VECTORS).model_.layers[0].branches)  # type: ignore[attr-defined]
    assert trained.dropout[4] == pytest.approx(10 / 11, abs=1e-3)
    assert given.dropout == 0


@pytest.mark.parametrize(
    ("texts", "options", "vectors", "rate"),
    [
        (["a b"] * 9000, {}, True, 10),
        (["a b"] * 9000, {}, False, 0),
        (["a b"] * 9000, {"rare_dropout": 2}, True, 2),
        (["a b"] * 60_000, {}, True, 0),
        (["很好"] * 9000, {}, True, 0),  # characters
    ],
)
def test_the_default(texts: list[str], options: dict[str, Any], vectors: bool, rate: float) -> None:
    assert settings_for("auto", texts, options, vectors=vectors).rare_dropout == rate


@pytest.mark.parametrize(
    ("rate", "error", "message"),
    [
        (-1, ValueError, "rare_dropout is -1, expected 0 or more"),
        (np.nan, ValueError, "rare_dropout is nan, expected 0 or more"),
        ("some", TypeError, "rare_dropout is 'some', expected a number"),
    ],
)
def test_refused(rate: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fitted(rare_dropout=rate)
