"""What words say: against finite differences, predictions of other texts, and models whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnext import Sequential, layers
from rnnext.evidence import _by_gradient, _Read, explain, spans_of, word_evidence
from rnnext.text import TextVectorizer
from rnnext.utils import set_random_seed

TEXTS = ["a quiet moving film , a joy", "a dull loud film", "what a joy this quiet film is !"]


def vectorizer(**options: Any) -> TextVectorizer:
    return TextVectorizer(**options).fit(TEXTS)


def model_of(words: int, classes: int, *between: layers.Layer, mask_zero: bool = False) -> Sequential:
    set_random_seed(3)
    head = layers.Dense(1, "sigmoid") if classes == 2 else layers.Dense(classes, "softmax")
    model = Sequential([layers.Embedding(words, 5, mask_zero=mask_zero), *between, head])
    model.build((None, None))
    rng = np.random.default_rng(0)
    model.set_weights([0.7 * rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


def log_odds(model: Sequential, row: Any, label: int) -> float:
    y = model.predict(row, verbose=0)[0].astype(np.float64)
    p = np.array([1 - y[0], y[0]]) if len(y) == 1 else y
    return float(np.log(p[label] / (1 - p[label])))


STACKS: dict[str, Any] = {
    "lstm": lambda: (layers.LSTM(4),),
    "gru_pooled": lambda: (layers.GRU(4, return_sequences=True), layers.GlobalMaxPooling1D()),
    "both_ways": lambda: (
        layers.SpatialDropout1D(0.5),
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.ConcatPooling1D(),
        layers.Dropout(0.5),
    ),
    "stacked": lambda: (layers.LSTM(4, return_sequences=True), layers.GRU(3), layers.Dense(3, "tanh")),
    "branches": lambda: (
        layers.Branches([[layers.GRU(4, return_sequences=True), layers.GlobalMaxPooling1D()], layers.GlobalAveragePooling1D()]),
    ),
    "attention": lambda: (layers.GRU(4, return_sequences=True), layers.AttentionPooling1D()),
}


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("stack", sorted(STACKS))
def test_gradient_times_input_is_the_slope_along_the_words_vector(stack: str, classes: int) -> None:
    words = vectorizer()
    model = model_of(words.vocabulary_size, classes, *STACKS[stack]())
    text = "a quiet film is dull"  # each word once, so that its row is this place's alone
    row = words.transform([text])[0].tolist()
    for label in range(classes):
        found = word_evidence(model, words, text, label=label)
        assert found.tokens == tuple(text.split())
        assert found.label == label
        table = model.weights[0]
        for n, word in enumerate(row):
            slopes = []
            for step in (1e-2, -1e-2):
                before = table.value.copy()
                changed = before.copy()
                changed[word] *= 1 + step
                table.assign(changed)
                slopes.append(log_odds(model, np.array([row], np.int32), label))
                table.assign(before)
            assert found.scores[n] == pytest.approx((slopes[0] - slopes[1]) / 2e-2, rel=2e-2, abs=2e-3)


def test_a_linear_model_is_the_sum_of_its_words() -> None:
    words = vectorizer()
    model = model_of(words.vocabulary_size, 2, layers.GlobalAveragePooling1D())
    found = word_evidence(model, words, TEXTS[0], label=1)
    row = words.transform([TEXTS[0]])[0]
    bias = float(model.weights[-1].value[0])
    assert found.scores.sum() + bias == pytest.approx(log_odds(model, row[None], 1), rel=1e-4)
    against = word_evidence(model, words, TEXTS[0], label=0)
    np.testing.assert_allclose(against.scores, -found.scores)
    assert against.probability + found.probability == pytest.approx(1)


def test_neighbours_and_branches_have_their_part() -> None:
    """A linear model of words, pairs of words and a branch of its own for both is the sum of what each place says."""
    words = vectorizer()

    def mean(embedding: layers.Layer) -> list[layers.Layer]:
        return [embedding, layers.GlobalAveragePooling1D()]

    set_random_seed(1)
    size = words.vocabulary_size
    row = words.transform([TEXTS[0]])[0]
    pairs = np.stack([row[:-1], row[1:]], axis=1)[:4]
    branches = [mean(layers.Embedding(size, 3)), mean(layers.BigramEmbedding(size, 4, pairs=pairs))]
    model = Sequential([layers.Branches(branches), layers.Dropout(0.5), layers.Dense(1, "sigmoid")])
    model.build((None, None))
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.standard_normal(weight.shape))
    found = word_evidence(model, words, TEXTS[0], label=1)
    bias = float(model.weights[-1].value[0])
    assert found.scores.sum() + bias == pytest.approx(log_odds(model, row[None], 1), rel=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_occlusion_is_the_text_without_the_word(classes: int) -> None:
    words = vectorizer()
    model = model_of(words.vocabulary_size, classes, layers.Bidirectional(layers.GRU(4)))
    for label in range(classes):
        found = word_evidence(model, words, TEXTS[0], label=label, method="occlusion")
        whole = words.transform([TEXTS[0]])[0]
        for n in range(len(found.tokens)):
            without = np.delete(whole, n)
            expected = log_odds(model, whole[None], label) - log_odds(model, without[None], label)
            assert found.scores[n] == pytest.approx(expected, abs=1e-5)


def test_long_texts_are_occluded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    words = vectorizer()
    model = model_of(words.vocabulary_size, 2, layers.GRU(4))
    text = " ".join(TEXTS * 3)
    whole = word_evidence(model, words, text, method="occlusion")
    monkeypatch.setattr("rnnext.evidence._IDS_AT_ONCE", 100)
    np.testing.assert_array_equal(word_evidence(model, words, text, method="occlusion").scores, whole.scores)


@pytest.mark.parametrize("side", ["pre", "post"])
@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_padded_rows_and_cut_ones(side: Any, method: Any) -> None:
    """With a mask, padding changes nothing; tokens that were cut off have no evidence."""
    ragged, padded = vectorizer(maxlen=20), vectorizer(output="padded", maxlen=20, padding=side)
    model = model_of(ragged.vocabulary_size, 2, layers.LSTM(4), mask_zero=True)
    one, other = (word_evidence(model, each, TEXTS[0], label=1, method=method) for each in (ragged, padded))
    assert one.tokens == other.tokens
    np.testing.assert_allclose(other.scores, one.scores, atol=1e-5)
    cut = vectorizer(maxlen=2, truncating=side)
    found = word_evidence(model, cut, "a quiet film is dull", method=method)
    assert found.tokens == (("is", "dull") if side == "pre" else ("a", "quiet"))
    assert [found.text[slice(*span)] for span in found.spans if span] == list(found.tokens)
    middle = vectorizer(maxlen=4, truncating="middle")
    assert word_evidence(model, middle, "a quiet film is dull", method=method).tokens == ("a", "film", "is", "dull")


@pytest.mark.parametrize("output", ["ragged", "padded"])
@pytest.mark.parametrize("truncating", ["pre", "post", "middle"])
@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("maxlen", [5, 7, 9])  # a text that is cut, a full row, one with room
def test_without_a_word_the_row_is_the_vectorizers(output: Any, truncating: Any, padding: Any, maxlen: int) -> None:
    words = vectorizer(output=output, truncating=truncating, padding=padding, maxlen=maxlen)
    tokens = ["what", "a", "quiet", "film", "this", "joy", "is"]
    read = _Read(words, " ".join(tokens))
    for n, token in enumerate(read.tokens):
        others = " ".join(each for each in tokens if each != token)
        np.testing.assert_array_equal(read.without(n), words.transform([others])[0])


def test_the_predicted_label_is_explained() -> None:
    words = vectorizer()
    model = model_of(words.vocabulary_size, 3, layers.LSTM(4))
    p = model.predict(words.transform(TEXTS), verbose=0)
    for text, row in zip(TEXTS, p, strict=True):
        found = word_evidence(model, words, text, labels="xyz")
        assert found.label == "xyz"[row.argmax()]
        assert found.probability == pytest.approx(row.max(), abs=1e-6)
        assert found.strongest(1)[0][1] == found.scores[np.abs(found.scores).argmax()]


def test_a_sure_model_still_has_a_gradient() -> None:
    words = vectorizer()
    model = model_of(words.vocabulary_size, 2, layers.GlobalAveragePooling1D())
    model.set_weights([1000 * w for w in model.get_weights()])
    found = word_evidence(model, words, TEXTS[0])
    assert found.probability == 1
    assert np.abs(found.scores).min() > 1


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_texts_without_words_and_unknown_words(method: Any) -> None:
    words = vectorizer()
    model = model_of(words.vocabulary_size, 2, layers.LSTM(4))
    empty = word_evidence(model, words, "  ...", method=method)
    assert (empty.tokens, len(empty.scores), empty.strongest()) == ((), 0, [])
    assert word_evidence(model, words, "joy", method=method).scores.shape == (1,)
    assert word_evidence(model, words, "joy unheard", method=method).known == (True, False)


def test_explain_a_classifier() -> None:
    from rnnext import TextClassifier

    texts = [f"{word} film {n}" for n in range(60) for word in ("good", "bad")]
    labels = ["yes" if "good" in text else "no" for text in texts]
    classifier = TextClassifier(units=4, embedding_dim=8, epochs=20, random_state=0, verbose=0).fit(texts, labels)
    for method in ("gradient", "occlusion"):
        found = explain(classifier, "a good film", method=method)  # type: ignore[arg-type]
        assert found.label == "yes"
        assert found.strongest(1)[0][0] == "good"
        assert found.strongest(1)[0][1] > 0
        assert explain(classifier, "a good film", label="no", method=method).strongest(1)[0][1] < 0  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="explain: label is 'maybe', expected one of 'no', 'yes'"):
        explain(classifier, "a good film", label="maybe")
    with pytest.raises(TypeError, match="text is a list, expected a str"):
        explain(classifier, ["a good film"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="explain: classifier has learned nothing yet"):
        explain(TextClassifier(), "a good film")
    with pytest.raises(TypeError, match="explain: classifier is a list, expected a TextClassifier"):
        explain([classifier], "a good film")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "tokens", "cleaned"),
    [
        ("A Film, don’t!", ["a", "film", "don't", "!"], ["A", "Film", "don’t", "!"]),
        ("<br />br b<i>r</i>", ["br", "b", "r"], ["br", "b", "r"]),
        ("很好看", ["很", "好", "看"], ["很", "好", "看"]),
        ("ﬁlm a film", ["film", "a", "film"], [None, "a", "film"]),
        ("un caf&eacute; noir", ["un", "café", "noir"], ["un", None, "noir"]),
        ("a &amp; b", ["a", "b"], ["a", "b"]),
        ("İ x", ["i̇", "x"], [None, "x"]),
        ("a" + " " * 300 + "b", ["a", "b"], ["a", None]),
        ("I <3 good (5 > 4), good", ["i", "3", "good", "5", "4", "good"], ["I", "3", "good", "5", "4", "good"]),
        ("x &good; good", ["x", "good", "good"], ["x", "good", "good"]),
        ("很好，ＯＫ！\n再来", ["很好", ",", "ok", "!", " ", "再来"], ["很好", "，", "ＯＫ", "！", "\n", "再来"]),
    ],
)
def test_spans(text: str, tokens: list[str], cleaned: list[str | None]) -> None:
    assert [None if span is None else text[slice(*span)] for span in spans_of(text, tokens)] == cleaned


def test_spans_are_those_of_the_first_occurrence() -> None:
    text = "I <3 good films (5 > 4), good cast, &good; good"
    tokens = TextVectorizer().tokenize(text)
    spans = [span for token, span in zip(tokens, spans_of(text, tokens), strict=True) if token == "good"]
    assert [span and span[0] for span in spans] == [5, 25, 37, 43]
    raw = TextVectorizer(strip_html=False)
    text = "<b>good</b> b good"
    spans = spans_of(text, raw.tokenize(text), strip_html=False)
    assert [text[slice(*span)] for span in spans if span is not None] == ["b", "good", "b", "b", "good"]
    characters = TextVectorizer(unit="char")
    text = "a <b>x</b> &amp; y"
    tokens = characters.tokenize(text)
    for token, span in zip(tokens, spans_of(text, tokens), strict=True):
        assert span is None or text[slice(*span)] == token


def test_refused() -> None:
    words = vectorizer()
    model = model_of(words.vocabulary_size, 2, layers.LSTM(4))
    with pytest.raises(ValueError, match="method is 'shap', expected 'gradient' or 'occlusion'"):
        word_evidence(model, words, "a", method="shap")  # type: ignore[arg-type]
    for label in (-1, 2):
        with pytest.raises(ValueError, match=f"label is {label}, expected 0 to 1"):
            word_evidence(model, words, "a", label=label)
    linear = Sequential([layers.Embedding(words.vocabulary_size, 3), layers.LSTM(2)])
    linear.build((None, None))
    logits = Sequential([layers.Embedding(words.vocabulary_size, 3), layers.LSTM(2), layers.Dense(1)])
    logits.build((None, None))
    for model, name in ((linear, "LSTM lstm"), (logits, "Dense dense")):
        for method in ("gradient", "occlusion"):
            with pytest.raises(ValueError, match=f"the last layer is <{name}.*>, expected a Dense with activation 'sigm"):
                word_evidence(model, words, "a", method=method)  # type: ignore[arg-type]
    apart = Sequential([*logits.layers, layers.Activation("sigmoid")])
    assert word_evidence(apart, words, "a", method="occlusion").scores.shape == (1,)
    with pytest.raises(ValueError, match=r"the last layer is <Activation activation.*>, expected a Dense"):
        word_evidence(apart, words, "a")
    vectors = Sequential([layers.LSTM(2), layers.Dense(1, "sigmoid")])
    with pytest.raises(ValueError, match="the first layer is <LSTM lstm>, expected an Embedding"):
        _by_gradient(vectors, _Read(words, "a"), 0)
