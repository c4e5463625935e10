"""The choices for options that the caller leaves open, and the model that they describe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnnext._checks import flag, number, positive, whole_number
from rnnext.classifier._labels import Numbers, Weights
from rnnext.classifier._log_odds import log_odds
from rnnext.classifier._neighbours import vectors_from_neighbours
from rnnext.layers import (
    GRU,
    LSTM,
    AttentionPooling1D,
    Bidirectional,
    BigramEmbedding,
    Branches,
    ConcatPooling1D,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Layer,
    frequent_pairs,
)
from rnnext.losses import BinaryCrossentropy, CategoricalCrossentropy
from rnnext.models import Sequential
from rnnext.optimizers import AdamW
from rnnext.optimizers.schedules import OneCycle
from rnnext.text import language_of

Ids = npt.NDArray[np.int32]

Floats = npt.NDArray[np.float32]

_OWNER = "TextClassifier"


@dataclass(frozen=True)
class Settings:
    """The options of a training, all of them chosen."""

    unit: Literal["word", "char"]
    tokenizer: Callable[[str], Iterable[str]] | Literal["jieba"] | None
    punctuation: bool
    max_tokens: int
    min_count: int
    maxlen: int
    embedding_dim: int
    pretrain: bool
    log_odds: bool
    bigrams: int
    bigrams_scale: float
    word_dropout: float
    rare_dropout: float
    input_dropout: float
    cell: str
    units: int
    bidirectional: bool
    pooling: str
    wide: bool
    dropout: float
    label_smoothing: float
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    average: float
    validation_fraction: float
    refit: bool
    patience: int


_POOLINGS: Mapping[str, Callable[[], Layer]] = {
    "concat": ConcatPooling1D,
    "max": GlobalMaxPooling1D,
    "mean": GlobalAveragePooling1D,
    "attention": AttentionPooling1D,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "lang": ("auto", "en", "zh"),
    "unit": ("word", "char"),
    "cell": ("lstm", "gru"),
    "pooling": ("last", *_POOLINGS),
}
_MUCH_TEXT = 10_000_000  # characters
_MANY_ROWS = 50_000
_FEW_ROWS = 6_000
_FEWEST_ROWS = 1_000
_MANY_LABELS = 20
# What depends on the amount of text, chosen on parts that were set aside: for thousands of sentences (_LITTLE), for many more
# of them or their phrases (_MANY), for as much text as the IMDB reviews have (_MUCH).
_LITTLE: Mapping[str, Any] = {"bigrams_scale": 0.3, "units": 32, "wide": True, "label_smoothing": 0.1}
# With few texts for each of many labels, none can be spared. On questions of fifty kinds, in cross-validation, the type (one of
# six) was right for 84.9 % without this, for 87.2 % with it but with a tenth set aside, for 88.4 % with all of it.
_KINDS: Mapping[str, Any] = {"units": 64, "epochs": 20, "validation_fraction": 0.0}
# A tenth of hundreds of texts says too little of when to stop: now and then it picks an epoch that has learned nothing.
# After 300 and 600 training texts of five data sets (three seeds), 2.2 points more of 2,000 other ones were right in the
# mean of thirty cases, -0.8 to +8.8 in each; after 1,000 to 1,200 texts 0.6. Who brings texts to stop by has more patience
# with so many epochs.
_SCARCE: Mapping[str, Any] = {"epochs": 30, "validation_fraction": 0.0, "patience": 10}
# What hundreds of texts of two labels say can be counted; a training then needs a third of the epochs. With 300, 600 and 900
# texts of five data sets (three seeds) 1.5 points more of 2,000 other ones were right in the mean of 45 cases, -1.1 to +5.6 in
# each. With 2,500 texts it was -1.0 to +2.0, with all of them -0.5 to +0.6; of six labels (TREC) 1 to 5 fewer were right.
_SCARCE_OF_TWO: Mapping[str, Any] = {"log_odds": True, "epochs": 10}
_MANY: Mapping[str, Any] = {
    "embedding_dim": 128,
    "epochs": 3,
    "batch_size": 64,
    "learning_rate": 0.003,
    "validation_fraction": 0.05,  # still thousands of texts
}
# Characters say less than words. In cross-validation on Chinese hotel reviews 88.3 % were right without this, 88.9 % with the
# doubled `maxlen`, 89.0 % with both; on takeaway reviews, which are all shorter, 89.4 % without and 89.6 % with both. With no
# text set aside all epochs are run, not those up to the one that was best on some hundred texts: hotel reviews 88.4 % -> 89.1 %
# (eight of ten folds), takeaway reviews 89.2 % -> 90.0 % (four folds), reviews of all sorts 83.3 % -> 83.7 % (two of four).
_CHARACTERS: Mapping[str, Any] = {"maxlen": 800, "pretrain": True, "validation_fraction": 0.0}
_MUCH: Mapping[str, Any] = {
    "punctuation": False,
    "min_count": 2,
    "pretrain": True,
    "word_dropout": 0.5,
    "input_dropout": 0.0,
    "bidirectional": False,
    "epochs": 2,
    "weight_decay": 0.0,
    "validation_fraction": 0.05,
}
_LEANING = 0.6  # how far first vectors lean for each unit of log odds
_SHARES = ("word_dropout", "input_dropout", "dropout", "label_smoothing", "average", "validation_fraction")
_SWITCHES = ("punctuation", "pretrain", "log_odds", "bidirectional", "wide", "refit")
_COUNTS = {"units": 1, "embedding_dim": 1, "bigrams": 0, "epochs": 1, "batch_size": 1, "patience": 1}


def settings_for(
    lang: str, texts: Sequence[str], given: Mapping[str, Any], *, vectors: bool = False, labels: int = 2
) -> Settings:
    """The preset for these texts, overridden by what is `given` (None: open). TypeError or ValueError for what does not fit.

    `vectors`: whether the user gives word vectors. `labels`: the number of different labels.
    """
    _check("lang", lang)
    said = {name: value for name, value in given.items() if value is not None}
    said |= {name: value.item() for name, value in said.items() if isinstance(value, np.generic)}
    for name, value in said.items():
        _check(name, value)
    lang = language_of(texts) if lang == "auto" else lang
    few = len(texts) < _FEW_ROWS
    amount = _MUCH if sum(map(len, texts)) >= _MUCH_TEXT else _MANY if len(texts) >= _MANY_ROWS else _LITTLE
    unit = said.get("unit", "char" if lang == "zh" and "tokenizer" not in said else "word")
    preset: dict[str, Any] = {
        "unit": unit,
        "tokenizer": None,
        "punctuation": True,
        "max_tokens": 30000,
        "min_count": 1,
        "maxlen": 400,
        "embedding_dim": 64,
        "pretrain": False,
        "log_odds": False,
        "bigrams": 200_000,
        "bigrams_scale": 1.0,
        "word_dropout": 0.2,
        # What is learned about a rare word would hide what its given vector says.
        "rare_dropout": 10.0 if vectors and amount is _LITTLE and unit == "word" else 0.0,
        "input_dropout": 0.5,
        "cell": "lstm",
        "units": 96,
        "bidirectional": True,
        "pooling": "concat",
        "wide": False,
        "dropout": 0.5,
        "label_smoothing": 0.0,
        "epochs": 8 if few else 5,
        "batch_size": 16 if few else 32,
        "learning_rate": 0.004,
        "weight_decay": 0.01,
        "average": 0.99,
        "validation_fraction": 0.1,
        # To learn the words that only the part set aside has.
        "refit": amount is _LITTLE and unit == "word",
        "patience": 3,
    }
    scarce = _SCARCE if amount is _LITTLE and len(texts) < _FEWEST_ROWS else {}
    two = _SCARCE_OF_TWO if scarce and labels == 2 and said.get("log_odds", True) else {}
    if said.get("log_odds") and labels > 2:
        raise ValueError(f"{_OWNER}: log_odds is True, expected two labels, but there are {labels}")
    kinds = _KINDS if few and amount is _LITTLE and labels >= _MANY_LABELS else {}
    characters = _CHARACTERS if amount is _LITTLE and lang == "zh" and unit == "char" else {}
    return Settings(**{**preset, **amount, **scarce, **two, **kinds, **characters, **said})


def _check(name: str, value: Any) -> None:
    """Check what neither layers nor anything else checks, or what they would call by another name."""
    if name in _CHOICES and value not in _CHOICES[name]:
        expected = " or ".join(", ".join(map(repr, _CHOICES[name])).rsplit(", ", 1))
        raise ValueError(f"{_OWNER}: {name} is {value!r}, expected {expected}")
    if name in _SHARES and not 0 <= number(_OWNER, name, value) < 1:
        raise ValueError(f"{_OWNER}: {name} is {value}, expected 0 to below 1")
    if name in ("rare_dropout", "weight_decay"):
        number(_OWNER, name, value, 0, expected="0 or more")
    if name in ("learning_rate", "bigrams_scale"):
        positive(_OWNER, name, value)
    if name in _SWITCHES:
        flag(_OWNER, name, value)
    if name in _COUNTS:
        whole_number(_OWNER, name, value, _COUNTS[name])


def build(
    settings: Settings,
    rows: Sequence[Ids],
    labels: Numbers,
    weights: Weights,
    *,
    seen: int,
    vectors: Floats | None,
    classes: int,
    steps: int,
) -> Sequential:
    """The model for these rows of ids with their labels and weights, compiled for a training of `steps` steps.

    It reads words' vectors, to which those of pairs are added, and beside them `vectors` [V, D], which are not trained. Then
    come a recurrent layer, pooling of its states, if `wide` beside them the mean of what it reads, and a logistic unit for two
    classes or a softmax for more. Ids from `seen` on are in no row.
    """
    embedding = _embedding(settings, rows, labels, weights, seen, vectors)
    sequences = settings.pooling != "last"
    recurrent: Layer = (LSTM if settings.cell == "lstm" else GRU)(settings.units, return_sequences=sequences)
    if settings.bidirectional:
        recurrent = Bidirectional(recurrent)
    deep = [recurrent, *([_POOLINGS[settings.pooling]()] if sequences else [])]
    model = Sequential(
        [
            embedding,
            *([Dropout(settings.input_dropout)] if settings.input_dropout else []),
            *([Branches([deep, [GlobalAveragePooling1D()]])] if settings.wide else deep),
            Dropout(settings.dropout),
            Dense(1, activation="sigmoid") if classes == 2 else Dense(classes, activation="softmax"),
        ]
    )
    # An average over more than a tenth of all steps would still contain too much of the beginning at the end.
    momentum = min(settings.average, max(0.0, 1 - 10 / steps))
    averaged: dict[str, Any] = {"use_ema": True, "ema_momentum": momentum, "ema_frequency": 20} if settings.average else {}
    optimizer = AdamW(
        OneCycle(settings.learning_rate, max(8, steps), pct_start=0.25),
        settings.weight_decay,
        global_clipnorm=1.0,  # recurrent gradients explode now and then; one such step can undo an epoch
        **averaged,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    loss = BinaryCrossentropy if classes == 2 else CategoricalCrossentropy
    model.compile(optimizer, loss(label_smoothing=settings.label_smoothing), weighted_metrics=["accuracy"])
    return model


def _embedding(
    settings: Settings, rows: Sequence[Ids], labels: Numbers, weights: Weights, seen: int, vectors: Floats | None
) -> Layer:
    """What the recurrent layer reads: words' vectors, with pairs' added, and the given ones beside them."""
    embedding: Embedding
    vocabulary = seen if vectors is None else len(vectors)
    dropout: float | npt.NDArray[np.float64] = settings.word_dropout
    if settings.rare_dropout:
        counts = np.bincount(np.concatenate(rows), minlength=vocabulary)
        rare = float(settings.rare_dropout) / (float(settings.rare_dropout) + counts)
        dropout = np.maximum(dropout, rare.round(3))  # rounded, as a saved model lists them all
    pairs = frequent_pairs(rows, settings.bigrams)
    if len(pairs):
        embedding = BigramEmbedding(
            vocabulary,
            settings.embedding_dim,
            pairs=pairs,
            bigrams_scale=settings.bigrams_scale,
            dropout=dropout,
            bigrams_dropout=settings.word_dropout,
        )
    else:
        embedding = Embedding(vocabulary, settings.embedding_dim, dropout=dropout)
    if settings.pretrain or settings.log_odds or seen < vocabulary:
        embedding.build((None, None))
        words = embedding.weights[0]
    if settings.pretrain:
        words.assign(0.5 * vectors_from_neighbours(rows, vocabulary, settings.embedding_dim))
    if settings.log_odds:
        _lean(embedding, rows, labels, weights)
    if seen < vocabulary:  # of these words only the given vectors are known: no other, as if it had been dropped
        words.assign(np.where(np.arange(vocabulary)[:, None] < seen, words.value, np.float32(0)))
    if vectors is None:
        return embedding
    return Branches([[embedding], [Embedding(*vectors.shape, weights=vectors, trainable=False, name="vectors")]])


def _lean(embedding: Embedding, rows: Sequence[Ids], labels: Numbers, weights: Weights) -> None:
    """Move the first vectors of words, and of pairs if there are any, the same way by what they say about a text's label."""
    words, *of_pairs = embedding.weights
    odds = log_odds(rows, words.shape[0], labels, weights)
    words.assign(words.value + np.float32(_LEANING) * odds[:, None])
    if isinstance(embedding, BigramEmbedding):
        pairs = of_pairs[0]
        numbers = [embedding.pairs_of(row[None])[0] - 1 for row in rows]
        odds = log_odds(numbers, pairs.shape[0], labels, weights)
        pairs.assign(pairs.value + np.float32(_LEANING / embedding.bigrams_scale) * odds[:, None])
