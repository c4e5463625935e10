"""What words say about labels before anything is learned: how it is counted, and what it changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnext import TextClassifier
from rnnext.classifier import _presets
from rnnext.classifier._log_odds import log_odds

SMALL: dict[str, Any] = {"units": 5, "embedding_dim": 6, "epochs": 1, "learning_rate": 1e-6, "random_state": 0, "verbose": 0}


def test_they_are_counted_by_text() -> None:
    """By hand: 2 of 3 weights are of the greater label; two more texts with each id are divided like that."""
    rows = [np.array(row, np.int32) for row in ([1, 1, 1, 2], [1, -1], [2, 3])]
    found = log_odds(rows, 5, np.array([1, 1, 0]), np.array([1.0, 1.0, 1.0], np.float32))
    in_greater, in_others = np.array([0, 2, 1, 0, 0]), np.array([0, 0, 1, 1, 0])
    odds = (in_greater + 2 * 2 / 3) / (in_others + 2 * 1 / 3) / 2
    texts = in_greater + in_others
    np.testing.assert_allclose(found, np.log(odds) * texts / (texts + 3), rtol=1e-6, atol=1e-7)
    assert (found[1] > 0, found[3] < 0, found[0], found[4]) == (True, True, 0, 0)


def test_a_weight_is_that_many_texts() -> None:
    rows = [np.array(row, np.int32) for row in ([0, 1], [1, 2], [2])]
    labels, weights = np.array([4, 7, 7]), np.array([2.0, 1.0, 3.0], np.float32)
    times = [0, 0, 1, 2, 2, 2]
    repeated = log_odds([rows[n] for n in times], 3, labels[times], np.ones(6, np.float32))
    np.testing.assert_allclose(log_odds(rows, 3, labels, weights), repeated, rtol=1e-6)


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_texts_of_one_label_say_nothing(labels: list[int]) -> None:
    rows = [np.array([0, 1], np.int32), np.array([1], np.int32)]
    assert log_odds(rows, 2, np.array(labels), np.ones(2, np.float32)).tolist() == [0, 0]


def test_words_and_pairs_lean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each vector is moved as a whole; a pair, of which `bigrams_scale` comes through, as far in the end."""
    texts, labels = ["not good"] * 6 + ["so good"] * 6, [0] * 6 + [1] * 6
    classifier = TextClassifier(**SMALL, log_odds=True, bigrams_scale=0.5)
    with_it = classifier.fit(texts, labels).model_.layers[0].get_weights()
    monkeypatch.setattr(_presets, "_LEANING", 0)
    without = classifier.fit(texts, labels).model_.layers[0].get_weights()
    moved = with_it[0] - without[0]
    words = classifier.vectorizer_.vocabulary
    of = {word: moved[n] for n, word in enumerate(words)}
    assert not moved[:2].any()
    np.testing.assert_allclose(of["good"], 0, atol=1e-5)
    np.testing.assert_allclose(of["so"], np.full(6, 0.6 * np.log(7) * 6 / 9), rtol=1e-4)
    np.testing.assert_allclose(of["not"], -of["so"], rtol=1e-4)
    pairs = {(words[int(a)], words[int(b)]): with_it[1][n] for n, (a, b) in enumerate(with_it[2])}
    np.testing.assert_allclose(0.5 * pairs["so", "good"], of["so"], rtol=1e-4)
    np.testing.assert_allclose(0.5 * pairs["not", "good"], of["not"], rtol=1e-4)


def test_what_counts_for_nothing_leans_nothing() -> None:
    texts, labels = ["good"] * 5 + ["bad"] * 5, ["yes"] * 5 + ["no"] * 5
    options = {**SMALL, "epochs": 3, "learning_rate": 0.01}
    plain = TextClassifier(**options).fit(texts, labels)
    more = TextClassifier(**options).fit([*texts, "bad"], [*labels, "yes"], [1.0] * 10 + [0.0])
    np.testing.assert_array_equal(plain.predict_proba(["good", "bad"]), more.predict_proba(["good", "bad"]))


def test_it_is_for_two_labels() -> None:
    with pytest.raises(ValueError, match="log_odds is True, expected two labels, but there are 3"):
        TextClassifier(log_odds=True).fit(["a", "b", "c"], [1, 2, 3])
    with pytest.raises(TypeError, match="log_odds"):
        TextClassifier(log_odds=1).fit(["a", "b"], [1, 2])  # type: ignore[arg-type]
