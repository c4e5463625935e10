"""Words that are rare or in no text: their letters, their dropout, in files, in a graph; what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import TextClassifier, interop
from rnnext.evidence import explain
from rnnext.layers import Branches, Layer, SubwordEmbedding
from rnnext.models import Sequential

ENDINGS = [f"{a}{b}" for a in "aeiou" for b in "klmnprst"]
WORDS = [[f"glor{ending}" for ending in ENDINGS], [f"drea{ending}" for ending in ENDINGS]]
TRAIN = [(f"it is {word}", kind) for kind, words in enumerate(WORDS) for word in words[:25]]
TEST = [(f"it is {word}", kind) for kind, words in enumerate(WORDS) for word in words[25:]]
SMALL: dict[str, Any] = {"units": 5, "embedding_dim": 6, "epochs": 8, "batch_size": 8, "learning_rate": 0.02, "random_state": 0}
SMALL |= {"validation_fraction": 0.0, "verbose": 0}


def fitted(**options: Any) -> TextClassifier:
    return TextClassifier(**{**SMALL, **options}).fit(*zip(*TRAIN, strict=True))


def letters_of(model: Sequential) -> SubwordEmbedding | None:
    def within(layer: Layer) -> list[Layer]:
        return [found for part in layer.parts for found in within(part)] if isinstance(layer, Branches) else [layer]

    found = [part for layer in model.layers for part in within(layer) if isinstance(part, SubwordEmbedding)]
    return found[0] if found else None


@pytest.fixture(scope="module")
def knowing() -> TextClassifier:
    """One that knows the test's words, by vectors that say nothing of them."""
    return fitted(vectors={word: [0.5, 0.5] for words in WORDS for word in words}, letters=1000)


def test_words_are_understood_by_their_letters(knowing: TextClassifier) -> None:
    texts, truth = zip(*TEST, strict=True)
    assert knowing.score(texts, truth) == 1
    without = fitted(vectors={word: [0.5, 0.5] for words in WORDS for word in words})
    assert letters_of(without.model_) is None
    assert without.score(texts, truth) < 0.8
    found = explain(knowing, texts[0])
    assert found.strongest(1)[0][0] == TEST[0][0].split()[-1]


def test_saved_and_pickled(knowing: TextClassifier, tmp_path: Path) -> None:
    texts = [text for text, _ in [*TRAIN, *TEST]]
    knowing.save(tmp_path / "model")
    for again in (TextClassifier.load(tmp_path / "model"), pickle.loads(pickle.dumps(knowing))):
        np.testing.assert_array_equal(again.predict_proba(texts), knowing.predict_proba(texts))
    fewer = fitted(letters=7)
    fewer.save(tmp_path / "fewer")
    assert TextClassifier.load(tmp_path / "fewer").get_params()["letters"] == 7
    layer = letters_of(fewer.model_)
    assert layer is not None
    assert layer.rows == 7


def test_one_graph(run: Any, knowing: TextClassifier) -> None:
    x = np.stack(knowing.vectorizer_.transform([text for text, _ in TEST]))
    graph = interop.to_onnx(knowing.model_, lengths=True)
    found = run(graph, input=x, lengths=np.full(len(x), 3, np.int32))[0]
    expected = knowing.model_.predict(x, verbose=0)
    assert np.abs(found - expected).max() <= 1e-6
    np.testing.assert_allclose(interop.from_onnx(graph).predict(x, verbose=0), expected, atol=1e-6)


def test_when_there_are_letters() -> None:
    assert letters_of(fitted().model_) is None
    assert letters_of(fitted(letters=9).model_) is not None
    assert letters_of(fitted(unit="char", letters=9).model_) is None  # a character has no run of them


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


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"letters": -1}, ValueError, "letters is -1, expected at least 0"),
        ({"letters": 1.5}, TypeError, "letters is 1.5, expected a whole number"),
        ({"letters": True}, TypeError, "letters is True, expected a whole number"),
        ({"rare_dropout": -1}, ValueError, "rare_dropout is -1, expected 0 or more"),
        ({"rare_dropout": np.nan}, ValueError, "rare_dropout is nan, expected 0 or more"),
        ({"rare_dropout": "some"}, TypeError, "rare_dropout is 'some', expected a number"),
    ],
)
def test_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fitted(**options)
