"""Why a text got its label: how much each of its words speaks for it, by the model's gradient or by leaving the word out.

Knows a Sequential whose first layer is an Embedding and whose last is a Dense, and the vectorizer before it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext import layers
from rnnext._tokens import TAG, nfkc
from rnnext.layers._layer import Backprop, Mask
from rnnext.models import Sequential
from rnnext.parameters import Array
from rnnext.preprocessing.sequence import pad_sequences

if TYPE_CHECKING:
    from rnnext.classifier import TextClassifier
    from rnnext.text import TextVectorizer

__all__ = ["Evidence", "Method", "explain", "word_evidence"]

Method: TypeAlias = Literal["gradient", "occlusion"]
Scores: TypeAlias = npt.NDArray[np.float64]
Span: TypeAlias = tuple[int, int]
Ids: TypeAlias = npt.NDArray[np.int32]
Backward: TypeAlias = Callable[[Array], Scores]

_LEAST = 1e-7  # the least probability, or complement of one, whose logarithm is taken
_IDS_AT_ONCE = 1 << 22  # in the rows of occluded texts that are predicted together
_UNKNOWN = 1  # the vectorizer's id of words that it does not know
_FAR = 256  # how many characters after one token the next one is looked for
_HEAD = "a Dense with activation 'sigmoid' or 'softmax'"
_ENTITY = re.compile(r"&#?\w+;")
_BLANK = re.compile(r"\s")


@dataclass(frozen=True, eq=False)
class Evidence:
    """The words of a text that a model has read, and how much each speaks for the label: in log-odds, below 0 against it.

    `tokens` are the words. Of each, `scores` [T] is how much it speaks for `label`, `spans` where it is in `text`, as (begin,
    end), or None where cleaning has changed it, and `known` whether it is in the vocabulary. `probability` is the label's.
    """

    text: str
    tokens: tuple[str, ...]
    scores: Scores  # [T]
    spans: tuple[Span | None, ...]  # where each token is in the text; None where cleaning has changed it
    known: tuple[bool, ...]  # whether each is in the vocabulary
    label: Any
    probability: float  # of the label
    method: Method

    def strongest(self, count: int = 10) -> list[tuple[str, float]]:
        """The `count` tokens with the greatest scores, for the label or against it, and their scores."""
        order = np.argsort(-np.abs(self.scores), kind="stable")[:count]
        return [(self.tokens[n], float(self.scores[n])) for n in order]


def explain(classifier: TextClassifier, text: str, *, label: Any = None, method: Method = "gradient") -> Evidence:
    """How much each word of a text speaks for a label: the predicted one, unless `label` is given. See `word_evidence`.

    ValueError before the classifier's `fit`, or for a label that it does not know. TypeError for several classifiers in one,
    such as a VotingClassifier: each TextClassifier in it has evidence of its own.
    """
    is_fitted = getattr(classifier, "__sklearn_is_fitted__", None)
    if is_fitted is not None and not is_fitted():
        raise ValueError("explain: classifier has learned nothing yet, expected one after its fit")
    if not hasattr(classifier, "vectorizer_"):
        raise TypeError(f"explain: classifier is a {type(classifier).__name__}, expected a TextClassifier")
    classes = classifier.classes_.tolist()
    if label is not None and label not in classes:
        raise ValueError(f"explain: label is {label!r}, expected one of {', '.join(map(repr, classes))}")
    number = None if label is None else classes.index(label)
    return word_evidence(classifier.model_, classifier.vectorizer_, text, label=number, labels=classes, method=method)


def word_evidence(
    model: Sequential,
    vectorizer: TextVectorizer,
    text: str,
    *,
    label: int | None = None,
    labels: Sequence[Any] | None = None,
    method: Method = "gradient",
) -> Evidence:
    """How much each word of a text speaks for class number `label` (None: the predicted one); `labels` names the classes.

    "gradient" is gradient × input: how fast the label's log-odds, ln(p / (1 − p)), grow as the word's vector does. It takes one
    pass forward and back. "occlusion" is how much they fall when the word is left out. It takes a prediction for each word.
    ValueError if the model's last activation is not sigmoid or softmax, or, for "gradient", if it does not begin with an
    Embedding and end with a Dense.
    """
    if method not in ("gradient", "occlusion"):
        raise ValueError(f"word_evidence: method is {method!r}, expected 'gradient' or 'occlusion'")
    if not isinstance(text, str):
        raise TypeError(f"word_evidence: text is a {type(text).__name__}, expected a str")
    read = _Read(vectorizer, text)
    p = _probabilities(model, [read.row])[0]
    activation = getattr(model.layers[-1], "activation", None)
    if getattr(activation, "name", None) not in ("sigmoid", "softmax"):
        raise ValueError(f"word_evidence: the last layer is {model.layers[-1]!r}, expected {_HEAD}")
    if label is not None and not 0 <= label < len(p):
        raise ValueError(f"word_evidence: label is {label}, expected 0 to {len(p) - 1}")
    number = int(p.argmax()) if label is None else label
    score = _by_gradient if method == "gradient" else _by_occlusion
    return Evidence(
        text,
        read.tokens,
        score(model, read, number) if read.tokens else np.zeros(0),
        read.spans,
        tuple(bool(known) for known in read.row[read.places] != _UNKNOWN),
        number if labels is None else labels[number],
        float(p[number]),
        method,
    )


# ---------------------------------------------------------------- what the model reads


class _Read:
    """The tokens of a text that the model reads, the row of ids that it gets, and the tokens' places in that row."""

    def __init__(self, vectorizer: TextVectorizer, text: str) -> None:
        tokens = vectorizer.tokenize(text)
        spans = spans_of(text, tokens, strip_html=vectorizer.strip_html)
        self._kept = vectorizer.cut(np.arange(len(tokens), dtype=np.int32)).tolist()
        self.tokens, self.spans = tuple(tokens[n] for n in self._kept), tuple(spans[n] for n in self._kept)
        self.row: Ids = vectorizer.transform([text])[0]
        self.padded = vectorizer.output == "padded"
        before = len(self.row) - len(self._kept) if vectorizer.padding == "pre" else 0
        self.places = np.arange(before, before + len(self._kept))
        self._vectorizer, self._ids = vectorizer, vectorizer.ids_of(tokens)

    def without(self, n: int) -> Ids:
        """The row of the text without token n. A text that was cut has room for one more of its other tokens then."""
        row = self._vectorizer.cut(np.delete(self._ids, self._kept[n]))
        if not self.padded:
            return row
        padded: Ids = pad_sequences([row], maxlen=len(self.row), padding=self._vectorizer.padding)[0]
        return padded


def _as_input(rows: list[Ids], padded: bool) -> Any:
    return np.stack(rows) if padded else rows


def _probabilities(model: Sequential, rows: list[Ids], *, padded: bool = False) -> Array:
    """The probabilities [N, C] for rows of ids; a model with one output has two classes."""
    y: Array = model.predict(_as_input(rows, padded), verbose=0)
    return np.concatenate([1 - y, y], axis=1) if y.shape[1] == 1 else y


# ---------------------------------------------------------------- both methods


def _log_odds(p: Array) -> Scores:
    q = np.clip(p.astype(np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(q) - np.log1p(-q))


def _by_occlusion(model: Sequential, read: _Read, label: int) -> Scores:
    whole = _log_odds(_probabilities(model, [read.row], padded=read.padded)[:, label])[0]
    count = len(read.tokens)
    at_once = max(1, _IDS_AT_ONCE // len(read.row))
    parts = []
    for begin in range(0, count, at_once):
        rows = [read.without(n) for n in range(begin, min(begin + at_once, count))]
        parts.append(whole - _log_odds(_probabilities(model, rows, padded=read.padded)[:, label]))
    return np.concatenate(parts)


def _by_gradient(model: Sequential, read: _Read, label: int) -> Scores:
    *stack, head = model.layers
    ids = read.row[None]
    x, _, backward = _through(stack, ids, None if read.padded else np.ones(ids.shape, np.bool_))
    return backward(_of_log_odds(head, x, label))[read.places]


def _through(stack: Sequence[layers.Layer], ids: Ids, mask: Mask | None) -> tuple[Array, Mask | None, Backward]:
    """(y, its mask, backward) of layers that begin with an Embedding, or with branches that do.

    backward turns the gradient of y into gradient × vector for each id.
    """
    first, others = stack[0] if stack else None, stack[1:]
    if isinstance(first, layers.Embedding):
        vectors: Array = first(ids)
        x = vectors

        def of_ids(dx: Array) -> Scores:
            return np.asarray((dx[0].astype(np.float64) * vectors[0]).sum(axis=-1))

    elif isinstance(first, layers.Branches):
        parts = [_through(branch, ids, mask) for branch in first.branches]
        x = np.concatenate([y for y, _, _ in parts], axis=-1)
        ends = np.cumsum([y.shape[-1] for y, _, _ in parts])[:-1]

        def of_ids(dx: Array) -> Scores:
            each = zip(parts, np.split(dx, ends, axis=-1), strict=True)
            return np.asarray(np.sum([backward(np.ascontiguousarray(dy)) for (*_, backward), dy in each], axis=0))

    else:
        raise ValueError(f"word_evidence: the first layer is {first!r}, expected an Embedding")
    mask = first.compute_mask(ids, mask)
    undo = list[Backprop]()
    for layer in others:
        y, backprop = layer.forward(x, training=False, mask=mask)
        mask = layer.compute_mask(x, mask)
        undo.append(backprop)
        x = y

    def backward(dy: Array) -> Scores:
        for backprop in reversed(undo):
            gradient: Any = backprop(dy).inputs
            dy = gradient
        return of_ids(dy)

    return x, mask, backward


def _of_log_odds(head: layers.Layer, x: Array, label: int) -> Array:
    """The gradient of the label's log-odds with respect to the last layer's input.

    It is computed from the logits: through the probabilities it would vanish where the model is sure.
    """
    if not isinstance(head, layers.Dense):
        raise ValueError(f"word_evidence: the last layer is {head!r}, expected {_HEAD}")
    da = np.zeros((1, head.units), np.float32)
    if head.activation.name == "softmax":
        p = head(x)[0].astype(np.float64)
        p[label] = 0
        da[0] = -p / max(p.sum(), np.finfo(np.float64).tiny)
        da[0, label] = 1
    elif head.units == 1:
        da[0, 0] = 1 if label else -1
    else:
        da[0, label] = 1
    product: Array = da @ head.weights[0].value.T
    return product


# ---------------------------------------------------------------- tokens in the text


def _without(found: re.Match[str]) -> str:
    """As many characters that no token has."""
    return "\0" * len(found[0])


def _cleaned(text: str) -> str:
    """The text as tokens are looked for in it: each letter in its place, as the vectorizer cleans it."""
    letters = (plain if len(plain := nfkc(letter).lower()) == 1 else letter for letter in text)
    return _BLANK.sub(" ", "".join(letters).replace("’", "'"))


def spans_of(text: str, tokens: Sequence[str], *, strip_html: bool = True) -> list[Span | None]:
    """Where each token is in the text, in any case and width of its letters; None for tokens that cleaning has changed."""
    if strip_html:
        text = TAG.sub(_without, text)
        text = _ENTITY.sub(lambda found: found[0] if html.unescape(found[0]) == found[0] else _without(found), text)
    cleaned = _cleaned(text)
    spans: list[Span | None] = []
    end, lost = 0, False
    for token in tokens:
        place = cleaned.find(_cleaned(token), end, end + _FAR + len(token))
        # There are no letters between two tokens. Where there are some, they are those of a token that was lost, or this is a
        # later occurrence of the token.
        lost = place < 0 or (not lost and any(map(str.isalnum, cleaned[end:place])))
        spans.append(None if lost else (place, place + len(token)))
        end = end if lost else place + len(token)
    return spans
