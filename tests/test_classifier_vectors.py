"""Word vectors from somebody else: the forms in which they come, what the model makes of them, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnext import TextClassifier
from rnnext.classifier._neighbours import vectors_from_neighbours
from rnnext.classifier._vectors import vectors_for

WORDS = ["good", "bad", "do", "n't", "'s"]
MATRIX = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
VOCABULARY = ["", "[UNK]", "bad", "don't", "it's", "unheard"]
EXPECTED = np.stack([np.zeros(3), np.zeros(3), MATRIX[1], MATRIX[2:4].mean(axis=0), MATRIX[4], np.zeros(3)])


def as_text(path: Path, header: bool) -> Path:
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in zip(WORDS, MATRIX.tolist(), strict=True)]
    path.write_text("\n".join([*(["5 3"] if header else []), *lines, ""]), encoding="utf-8")
    return path


def as_npz(path: Path, words: Any) -> Path:
    np.savez(path, words=words, vectors=MATRIX)
    return path


@pytest.mark.parametrize("form", ["dict", "lists", "pair", "npz of bytes", "npz of str", "text", "text with a header"])
def test_forms(form: str, tmp_path: Path) -> None:
    vectors: Any = {
        "dict": lambda: dict(zip(WORDS, MATRIX, strict=True)),
        "lists": lambda: {word: row.tolist() for word, row in zip(WORDS, MATRIX, strict=True)},
        "pair": lambda: (dict.fromkeys(WORDS), MATRIX),
        "npz of bytes": lambda: as_npz(tmp_path / "v.npz", np.frombuffer("\n".join(WORDS).encode(), np.uint8)),
        "npz of str": lambda: str(as_npz(tmp_path / "v.npz", np.array(WORDS))),
        "text": lambda: as_text(tmp_path / "v.txt", False),
        "text with a header": lambda: str(as_text(tmp_path / "v.vec", True)),
    }[form]()
    further, found = vectors_for(vectors, VOCABULARY)
    assert further == []
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, EXPECTED, rtol=1e-6)


@pytest.mark.parametrize("form", ["dict", "pair", "text with a header", "other"])
def test_further_words(form: str, tmp_path: Path) -> None:
    """As many words as asked for, in the vectors' order, leaving out those that no text can have."""

    class Other:
        """Vectors that can only be asked for a word, like gensim's."""

        def __contains__(self, word: str) -> bool:
            return word in WORDS

        def __getitem__(self, word: str) -> Any:
            return MATRIX[WORDS.index(word)]

    vectors: Any = {
        "dict": lambda: dict(zip(WORDS, MATRIX, strict=True)),
        "pair": lambda: (WORDS, MATRIX),
        "text with a header": lambda: as_text(tmp_path / "v.vec", True),
        "other": Other,
    }[form]()
    for more, expected in ((1, ["good"]), (9, ["good", "do"])):
        further, found = vectors_for(vectors, VOCABULARY, more, str.isalpha)
        assert further == ([] if form == "other" else expected)
        np.testing.assert_allclose(found[:6], EXPECTED, rtol=1e-6)
        np.testing.assert_allclose(found[6:], MATRIX[[WORDS.index(word) for word in further]], rtol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "error", "message"),
    [
        (5, TypeError, "vectors is a int, expected a dict"),
        ({"nothing": [1.0]}, ValueError, "vectors has none of the 6 words of the vocabulary"),
        ((["bad"], MATRIX), ValueError, r"1 words and a matrix of shape \(5, 3\)"),
        ((WORDS, MATRIX[0]), ValueError, r"matrix of shape \(3,\)"),
        ({"bad": [1.0], "do": [1.0, 2.0]}, ValueError, "shapes of different words"),
        ({"bad": [[1.0]]}, ValueError, "shapes of different words"),
        ({"bad": [np.nan]}, ValueError, "not finite"),
        ((iter(WORDS), MATRIX), TypeError, "vectors has a list_iterator of words, expected a list"),
        (b"v.txt", TypeError, "vectors is a bytes, expected a dict"),
    ],
)
def test_refused(vectors: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        vectors_for(vectors, VOCABULARY)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"nothing of the kind")
    np.savez(tmp_path / "b.npz", words=np.array(WORDS))
    np.savez(tmp_path / "c.npz", words=np.array(WORDS, object), vectors=MATRIX)
    (tmp_path / "e.npz").write_bytes(b"")
    with (tmp_path / "f.npz").open("wb") as file:
        np.save(file, MATRIX)
    for name in "abcef":
        with pytest.raises(ValueError, match=rf"{name}\.npz: not an \.npz file with the arrays words and vectors"):
            vectors_for(tmp_path / f"{name}.npz", VOCABULARY)
    (tmp_path / "d.txt").write_text("good 1 2\nbad 1 x\n")
    with pytest.raises(ValueError, match=r"d\.txt:2: expected a word and numbers"):
        vectors_for(tmp_path / "d.txt", VOCABULARY)
    (tmp_path / "g.txt").write_text("good 1 2\nbad 1\n")
    with pytest.raises(ValueError, match=r"g\.txt:2: has 1 numbers, expected a word and 2 numbers"):
        vectors_for(tmp_path / "g.txt", VOCABULARY)
    (tmp_path / "g.txt").write_text("bad\n")
    with pytest.raises(ValueError, match=r"g\.txt:1: has 0 numbers, expected a word and some numbers"):
        vectors_for(tmp_path / "g.txt", VOCABULARY)
    (tmp_path / "g.txt").write_text("\ngood 1 2\n\nbad 3 4\n\n")
    assert vectors_for(tmp_path / "g.txt", ["good", "bad"])[1].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(FileNotFoundError):
        vectors_for(tmp_path / "e.txt", VOCABULARY)
    (tmp_path / "f.txt").write_bytes(b"good 1 2\nb\xe9d 1 2\n")
    with pytest.raises(ValueError, match=r"f\.txt:2: byte 0xe9 at offset 1 is not UTF-8"):
        vectors_for(tmp_path / "f.txt", VOCABULARY)
    np.savez(tmp_path / "g.npz", words=np.frombuffer(b"b\xe9d", np.uint8), vectors=MATRIX[:1])
    with pytest.raises(ValueError, match=r"g\.npz: not an \.npz file .*'utf-8' codec can't decode"):
        vectors_for(tmp_path / "g.npz", VOCABULARY)


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_tokens_with_blanks(header: str, tmp_path: Path) -> None:
    """Published vectors of web pages (GloVe's) have tokens with blanks in them."""
    (tmp_path / "a.txt").write_text(f"{header}good 1 2\n. . . 3 4\nbad 5 6 \n", encoding="utf-8")
    further, matrix = vectors_for(tmp_path / "a.txt", ["", "[UNK]", "bad", ".", ". . ."], more=9)
    assert further == ["good"]
    assert matrix.tolist() == [[0, 0], [0, 0], [5, 6], [0, 0], [3, 4], [1, 2]]


def test_tokens_that_are_called_like_the_reserved_ids() -> None:
    texts, labels = ["a [UNK] b", "a  c"] * 10, [0, 1] * 10
    options: dict[str, Any] = {"tokenizer": lambda text: text.upper().split(" "), "epochs": 1, "units": 2}
    classifier = TextClassifier(vectors={"A": [1.0], "D": [2.0]}, **options).fit(texts, labels)
    assert sorted(classifier.vectorizer_.vocabulary[2:]) == ["", "A", "B", "C", "D", "[UNK]"]


def test_in_a_classifier(tmp_path: Path) -> None:
    """A word seen only once is understood if its neighbours in the vectors' space were seen."""
    rng = np.random.default_rng(1)
    good, bad = ([f"{kind}{n}" for n in range(40)] for kind in ("g", "b"))
    vectors = {word: [sign + 0.2 * rng.standard_normal(), 0.3] for sign, kind in ((1, good), (-1, bad)) for word in kind}
    texts = [f"it is {word}" for word in good + bad]
    labels = [1] * 40 + [0] * 40
    order = rng.permutation(80)
    options: dict[str, Any] = {"units": 5, "embedding_dim": 4, "epochs": 12, "batch_size": 8, "learning_rate": 0.02}
    train, test = order[:50], order[50:]
    scores = {}
    # All words are in the vocabulary, for texts without a say have them; without vectors nobody knows what they mean.
    every = [*(texts[n] for n in train), *texts], [*(labels[n] for n in train), *[0] * 80], [1] * 50 + [1e-9] * 80
    for name, given in (("with", vectors), ("without", None)):
        classifier = TextClassifier(**options, random_state=0, vectors=given, validation_fraction=0.0, patience=99)
        classifier.fit(*every)
        scores[name] = classifier.score([texts[n] for n in test], [labels[n] for n in test])
        if given is not None:
            table = classifier.model_.layers[0].get_weights()[-1]
            np.testing.assert_array_equal(table, vectors_for(vectors, classifier.vectorizer_.vocabulary)[1])
            classifier.save(tmp_path / "model")
            loaded = TextClassifier.load(tmp_path / "model")
            for again in (loaded, pickle.loads(pickle.dumps(classifier))):
                np.testing.assert_array_equal(again.predict_proba(texts), classifier.predict_proba(texts))
            assert loaded.vectors is None
    assert scores["with"] > 0.95
    assert scores["without"] < 0.8


def test_words_that_only_the_vectors_have(tmp_path: Path) -> None:
    """Such words of the test texts are understood as well, up to `max_tokens` words in all."""
    rng = np.random.default_rng(1)
    good, bad = ([f"{kind}{n}" for n in range(40)] for kind in ("g", "b"))
    vectors = {word: [sign + 0.2 * rng.standard_normal(), 0.3] for sign, kind in ((1, good), (-1, bad)) for word in kind}
    vectors = {"Upper": [0.0, 0.0], "two words": [0.0, 0.0], **vectors}  # of which no text has a token
    train = [f"it is {word}" for word in good[:25] + bad[:25]]
    options: dict[str, Any] = {"units": 5, "embedding_dim": 4, "epochs": 12, "batch_size": 8, "learning_rate": 0.02}
    options |= {"random_state": 0, "vectors": vectors, "validation_fraction": 0.0}
    test, truth = good[25:] + bad[25:], [1] * 15 + [0] * 15
    classifier = TextClassifier(**options).fit(train, [1] * 25 + [0] * 25)
    assert classifier.vectorizer_.vocabulary[-30:] == test
    assert classifier.score([f"it is {word}" for word in test], truth) > 0.95
    learned = classifier.model_.layers[0].get_weights()[0]
    assert learned.shape == (classifier.vectorizer_.vocabulary_size, 4)
    assert not learned[-30:].any()
    classifier.save(tmp_path / "model")
    np.testing.assert_array_equal(TextClassifier.load(tmp_path / "model").predict_proba(test), classifier.predict_proba(test))
    fewer = TextClassifier(**options, max_tokens=60).fit(train, [1] * 25 + [0] * 25)
    assert fewer.vectorizer_.vocabulary[-7:] == [*classifier.vectorizer_.vocabulary[:54][-1:], *test[:6]]
    np.testing.assert_array_equal(fewer.predict_proba(["it is b39"]), fewer.predict_proba(["it is unheard"]))


def test_vectors_from_neighbours() -> None:
    """Words that stand among the same words get similar vectors, whatever is outside of the window."""
    rng = np.random.default_rng(0)
    # 2 and 3 stand beside 6 to 8; 4 and 5 beside 9 to 11.
    rows = [np.array([rng.integers(2, 4), *rng.integers(6, 9, 2)], np.int32) for _ in range(200)]
    rows += [np.array([rng.integers(4, 6), *rng.integers(9, 12, 2)], np.int32) for _ in range(200)]
    found = vectors_from_neighbours(rows, 14, 4)
    assert found.shape == (14, 4)
    np.testing.assert_allclose((found[2:12] ** 2).mean(axis=1), 1, rtol=1e-5)
    assert not found[[0, 1, 12, 13]].any()
    alike = found @ found.T / 4
    assert min(alike[2, 3], alike[4, 5]) > 0.9
    assert alike[2:4, 4:6].max() < 0.3
    assert vectors_from_neighbours([np.zeros(0, np.int32)], 3, 4).tolist() == np.zeros((3, 4)).tolist()
