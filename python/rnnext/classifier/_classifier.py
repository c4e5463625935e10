"""A text classifier with scikit-learn's protocol: texts and labels in, labels and probabilities out."""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from rnnext import _random, saving
from rnnext._checks import whole_number
from rnnext._progress import Verbose, check_verbose, in_terminal
from rnnext.callbacks import Callback, EarlyStopping, Logs, SwapEMAWeights
from rnnext.classifier import _labels
from rnnext.classifier._labels import Labels, Numbers, Weights
from rnnext.classifier._presets import Settings, build, settings_for
from rnnext.classifier._vectors import vectors_for
from rnnext.layers import Dense
from rnnext.models import Sequential, model_from_files
from rnnext.text import TextVectorizer

_Floats = npt.NDArray[np.float32]
_Self = TypeVar("_Self", bound="TextClassifier")

_VOCABULARY, _LABELS = "vocabulary.json", "labels.json"
_FORMAT = 2  # 1: from `rnnext train` before this class existed; labels were str
_LOSS_COUNTS = 1e-6  # the weight of a loss against an accuracy: less than that of one text
_TEXTS_AT_ONCE = 8192  # whose ids are in memory at a time in predict


class TextClassifier:
    """A recurrent classifier of texts: `TextClassifier().fit(texts, labels).predict(texts)`.

    Texts are str, in any iterable; labels are str, int, bool or float, two different ones or more. None for an option means
    the preset's choice for `lang` and the amount of data. The constructor only stores its arguments; `fit` checks them.
    docs/classifier.md says what each option is and what is chosen.

    After `fit`: `classes_` (the labels in order, the columns of `predict_proba`), `model_` (a `Sequential`), `vectorizer_` (a
    `TextVectorizer`), `history_` (a number for each epoch by name), `best_epoch_` (from 1; None without
    validation).
    """

    _estimator_type = "classifier"  # scikit-learn before 1.6

    def __init__(
        self,
        *,
        lang: Literal["auto", "en", "zh"] = "auto",
        unit: Literal["word", "char"] | None = None,
        tokenizer: Callable[[str], Iterable[str]] | Literal["jieba"] | None = None,
        punctuation: bool | None = None,
        max_tokens: int | None = None,
        min_count: int | None = None,
        maxlen: int | None = None,
        vectors: Any = None,
        embedding_dim: int | None = None,
        pretrain: bool | None = None,
        log_odds: bool | None = None,
        bigrams: int | None = None,
        bigrams_scale: float | None = None,
        word_dropout: float | None = None,
        rare_dropout: float | None = None,
        input_dropout: float | None = None,
        cell: Literal["lstm", "gru"] | None = None,
        units: int | None = None,
        bidirectional: bool | None = None,
        pooling: Literal["last", "max", "mean", "concat", "attention"] | None = None,
        wide: bool | None = None,
        dropout: float | None = None,
        label_smoothing: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        average: float | None = None,
        validation_fraction: float | None = None,
        refit: bool | None = None,
        patience: int | None = None,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        random_state: Any = None,
        verbose: Verbose = "auto",
        text_column: str | None = None,
        label_column: str | None = None,
    ) -> None:
        self.lang = lang
        self.unit = unit
        self.tokenizer = tokenizer
        self.punctuation = punctuation
        self.max_tokens = max_tokens
        self.min_count = min_count
        self.maxlen = maxlen
        self.vectors = vectors
        self.embedding_dim = embedding_dim
        self.pretrain = pretrain
        self.log_odds = log_odds
        self.bigrams = bigrams
        self.bigrams_scale = bigrams_scale
        self.word_dropout = word_dropout
        self.rare_dropout = rare_dropout
        self.input_dropout = input_dropout
        self.cell = cell
        self.units = units
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.wide = wide
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.average = average
        self.validation_fraction = validation_fraction
        self.refit = refit
        self.patience = patience
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose
        self.text_column = text_column
        self.label_column = label_column

    # ------------------------------------------------------------ learning

    def fit(
        self: _Self,
        texts: Iterable[str],
        labels: Any,
        sample_weight: Any = None,
        *,
        validation_data: tuple[Any, ...] | None = None,
        callbacks: Sequence[Callback] = (),
        refit_callbacks: Sequence[Callback] = (),
        verbose: Verbose | None = None,
    ) -> _Self:
        """Learn from texts and their labels, in place of what was learned before.

        The weights of the most accurate epoch are kept: the most accurate on `validation_data` (texts, labels[,
        sample_weight]), or else on a part of the texts that is set aside. A hash of the text alone chooses that part, so that
        equal texts are on the same side. With `refit` and such a part a second training follows: from scratch, on all texts,
        for the number of epochs that was best together with its neighbours. `callbacks` and `history_` belong to the first
        training, `refit_callbacks` to the second. `sample_weight` [N] is the weight of each text. ValueError or TypeError for
        an argument or option that does not fit; then nothing has changed.
        """
        for name in ("text_column", "label_column"):
            if not isinstance(getattr(self, name), str | None):
                raise TypeError(f"TextClassifier: {name} is {getattr(self, name)!r}, expected a str")
        rows = _texts_of(texts)
        given = _labels.labels_of(labels, len(rows))
        weights = _labels.weights_of(sample_weight, len(rows))
        classes = _labels.classes_of(given)
        numbers = _labels.numbers_of(given, classes)
        of_classes = _labels.weights_of_classes(self.class_weight, classes, numbers, weights)
        if not (weights * of_classes[numbers]).any():
            raise ValueError("TextClassifier: sample_weight and class_weight leave no text that counts")
        held_out = None if validation_data is None else _validation(validation_data, classes)
        verbose = check_verbose(self._verbose(verbose))
        with _random.seeded(_seed_of(self.random_state)):
            counts = weights > 0  # a text of weight 0 is treated like one that is not there
            part = [text for text, counted in zip(rows, counts, strict=True) if counted], numbers[counts], weights[counts]
            kinds, given_vectors = len(np.unique(part[1])), self.vectors is not None
            settings = settings_for(self.lang, part[0], self._given(), vectors=given_vectors, labels=kinds)
            training, held_out = _divided(part, settings) if held_out is None else (part, held_out)
            refit = settings.refit and held_out is not None and validation_data is None
            # Drawn before the first training: a run that is resumed in the second one has drawn nothing in the first.
            seed = _seed_of(None) if refit else 0
            learned = self._learn(settings, classes, of_classes, training, held_out, callbacks, verbose)
            history = learned[2]
            if refit:
                epochs = _best_stretch(history)
                with _random.seeded(seed):
                    learned = self._learn(settings, classes, of_classes, part, None, refit_callbacks, verbose, epochs)
        self.classes_ = classes
        self.vectorizer_, self.model_, _ = learned
        self.history_, self.best_epoch_ = history, _best_epoch(history)
        return self

    def _learn(
        self,
        settings: Settings,
        classes: Labels,
        of_classes: Weights,
        training: _Part,
        held_out: _Part | None,
        callbacks: Sequence[Callback],
        verbose: Verbose,
        epochs: int | None = None,
    ) -> tuple[TextVectorizer, Sequential, dict[str, list[float]]]:
        """(vectorizer, model, history) of a training, or of its first `epochs` epochs."""
        texts, numbers, weights = training
        vectorizer = TextVectorizer(
            settings.max_tokens,
            unit=settings.unit,
            min_count=settings.min_count,
            maxlen=settings.maxlen,
            truncating="middle",
            tokenizer=settings.tokenizer,
            punctuation=settings.punctuation,
        )
        rows = list(vectorizer.fit_transform(texts))
        steps = -(-len(texts) // settings.batch_size)
        seen, vectors = vectorizer.vocabulary_size, None
        if self.vectors is not None:
            room = settings.max_tokens - seen
            further, vectors = vectors_for(self.vectors, vectorizer.vocabulary, room, lambda word: _is_token(vectorizer, word))
            vectorizer.extend(further)
        counting = _relative(weights * of_classes[numbers])
        model = build(
            settings, rows, numbers, counting, seen=seen, vectors=vectors, classes=len(classes), steps=steps * settings.epochs
        )
        watchers = [*callbacks]
        validation = None
        if settings.average:
            watchers.append(SwapEMAWeights(swap_on_epoch=True))
        if held_out is not None:
            chosen = held_out[1]
            measured = _relative(held_out[2] * of_classes[chosen])
            validation = (vectorizer.transform(held_out[0]), _targets(chosen, classes), measured)
            watchers.append(_MostAccurate("val_accuracy", patience=settings.patience, restore_best_weights=True))
        history = model.fit(
            rows,
            _targets(numbers, classes),
            batch_size=settings.batch_size,
            epochs=epochs or settings.epochs,
            sample_weight=counting,
            validation_data=validation,
            validation_batch_size=256,
            callbacks=watchers,
            pool=max(1, min(50, steps // 8)),  # if few rows were all pooled, each epoch would have the same batches
            verbose=verbose,
        )
        if not all(np.isfinite(array).all() for array in model.get_weights()):
            rate = f"learning_rate is {settings.learning_rate}, expected less"
            raise ValueError(f"TextClassifier: training has diverged, weights are no longer finite: {rate}")
        return vectorizer, model, history.history

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Settings.__dataclass_fields__}

    def _verbose(self, verbose: Verbose | None) -> Verbose:
        """The given `verbose`, else the constructor's; "auto" is a bar in a terminal and nothing elsewhere."""
        wanted = self.verbose if verbose is None else verbose
        return int(in_terminal()) if wanted == "auto" else wanted

    # ------------------------------------------------------------ using what was learned

    def predict(self, texts: Iterable[str]) -> Labels:
        """The most probable label of each text, [N], in their order."""
        probabilities = self.predict_proba(texts)
        found: Labels = self.classes_[probabilities.argmax(axis=1)]
        return found

    def predict_proba(self, texts: Iterable[str]) -> _Floats:
        """The probability of each class for each text, [N, classes], in the order of `classes_`; rows sum to 1."""
        self._check_fitted()
        parts = [self._probabilities(part) for part in _chunks(_checked(texts, "texts"), _TEXTS_AT_ONCE)]
        return np.concatenate([np.zeros((0, len(self.classes_)), np.float32), *parts])

    def _probabilities(self, texts: list[str]) -> _Floats:
        y: _Floats = self.model_.predict(self.vectorizer_.transform(texts), verbose=0)
        return np.concatenate([1 - y, y], axis=1) if len(self.classes_) == 2 else y

    def score(self, texts: Iterable[str], labels: Any, sample_weight: Any = None) -> float:
        """The accuracy: the share of texts whose label is predicted, weighted by `sample_weight` [N].

        TypeError if the labels are numbers where str was learned, or the other way round.
        """
        predicted = self.predict(texts)
        if not len(predicted):
            raise ValueError("TextClassifier: texts is empty, expected at least one text")
        truth = _labels.labels_of(labels, len(predicted))
        if _labels.are_texts(truth) != _labels.are_texts(self.classes_):  # none of which could be right
            raise TypeError(f"TextClassifier: labels has {truth.tolist()[0]!r}, expected such as {self.classes_.tolist()[0]!r}")
        weights = _labels.weights_of(sample_weight, len(predicted))
        return float(((predicted == truth) * weights).sum() / weights.sum())

    # ------------------------------------------------------------ scikit-learn's protocol

    @classmethod
    def _parameter_names(cls) -> list[str]:
        parameters = inspect.signature(cls.__init__).parameters.values()
        return sorted(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self: _Self, **params: Any) -> _Self:
        """Change arguments of the constructor, for the next `fit`. ValueError for a name that is none."""
        known = self._parameter_names()
        for name in params:
            if name not in known:
                raise ValueError(f"{type(self).__name__}: no parameter {name!r}, expected one of {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            transformer_tags=None,
            classifier_tags=ClassifierTags(),
            regressor_tags=None,
            input_tags=InputTags(one_d_array=True, two_d_array=False, string=True),
        )

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        plain = (bool, int, float, str)  # of which a loaded model has others that are equal
        said = (
            f"{name}={value!r}" if name != "vectors" or isinstance(value, plain) else f"{name}=<{type(value).__name__}>"
            for name, value in self.get_params().items()
            if value is not (default := defaults[name].default) and not (isinstance(value, plain) and value == default)
        )
        return f"{type(self).__name__}({', '.join(said)})"

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise ValueError(f"{type(self).__name__}: nothing was learned yet, call fit first")

    # ------------------------------------------------------------ saving

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a folder with model, vocabulary, labels and options, in place of a model that is there.

        Not saved: `vectors` (the model has those of its words), a `tokenizer` that is a function (`load` must be given it
        again), and a `random_state` that is not a number. ValueError before `fit`, TypeError for labels that JSON cannot hold,
        FileExistsError if something else than a model is there.
        """
        saving.write_folder(folder, self._to_files())

    @classmethod
    def load(
        cls: type[_Self], folder: str | os.PathLike[str], *, tokenizer: Callable[[str], Iterable[str]] | None = None
    ) -> _Self:
        """The classifier that `save` or `rnnext train` wrote, with the tokenizer that it had. Nothing in the folder is run.

        FileNotFoundError if there is none, ValueError if the folder does not hold a text classifier or is damaged.
        """
        return cls._from_files(saving.read_folder(folder, _FILES), Path(folder), tokenizer)

    def _to_files(self) -> dict[str, bytes]:
        self._check_fitted()
        params = {name: value for name, value in self.get_params().items() if _is_plain(value)}
        columns = {name: params.pop(name) for name in ("text_column", "label_column")}
        params.pop("vectors", None)
        if isinstance(self.class_weight, Mapping):
            params["class_weight"] = list(self.class_weight.items())
        content = {
            "format": _FORMAT,
            **_labels.to_json(self.classes_),
            **columns,
            "params": params,
            "history": self.history_,
        }
        labels = json.dumps(content, ensure_ascii=False, indent=1, default=_plain).encode("utf-8", "surrogatepass")
        return self.model_.to_files(include_optimizer=False, extras={_VOCABULARY: self.vectorizer_.to_json(), _LABELS: labels})

    @classmethod
    def _from_files(
        cls: type[_Self], files: Mapping[str, bytes], origin: Path, tokenizer: Callable[[str], Iterable[str]] | None
    ) -> _Self:
        for name in _FILES:
            if name not in files:
                raise ValueError(f"{origin}: a model without {name}, which a text classifier has")
        model = model_from_files(files, origin)
        try:
            content = json.loads(files[_LABELS].decode("utf-8", "surrogatepass"))
            if content["format"] not in (1, _FORMAT):
                raise ValueError(f"format {content['format']!r}, expected {_FORMAT}")
            classes = _labels.from_json(content)
            params = {name: content[name] for name in ("text_column", "label_column")}
            if not all(value is None or isinstance(value, str) for value in params.values()):
                raise ValueError("expected names of columns")
            params |= content.get("params", {})
            if isinstance(params.get("class_weight"), list):
                params["class_weight"] = dict(params["class_weight"])
            if tokenizer is not None:
                params["tokenizer"] = tokenizer
            classifier = cls(**params)
            history = {name: [float(value) for value in values] for name, values in content.get("history", {}).items()}
            best = _best_epoch(history)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{origin / _LABELS}: damaged or of another version ({error})") from error
        outputs, activation = (1, "sigmoid") if len(classes) == 2 else (len(classes), "softmax")
        last = model.layers[-1]
        if not isinstance(last, Dense) or (last.units, last.activation.name) != (outputs, activation):
            raise ValueError(f"{origin}: the model ends in {last!r}, expected Dense({outputs}, {activation!r}) for the labels")
        vectorizer = TextVectorizer.from_json(files[_VOCABULARY], tokenizer=tokenizer)
        if vectorizer.vocabulary_size != model.vocabulary or vectorizer.output != "ragged":
            raise ValueError(
                f"{origin / _VOCABULARY}: has {vectorizer.vocabulary_size} words and the output {vectorizer.output!r},"
                f" expected {model.vocabulary} as the model, and 'ragged'"
            )
        classifier.classes_, classifier.model_, classifier.vectorizer_ = classes, model, vectorizer
        classifier.history_, classifier.best_epoch_ = history, best
        return classifier

    def __getstate__(self) -> dict[str, Any]:
        params = self.get_params()
        others = {name: value for name, value in vars(self).items() if name not in params and name not in _LEARNED}
        if not self.__sklearn_is_fitted__():
            return {"params": params, "others": others, "files": None}
        return {"params": params, "others": others, "files": self._to_files(), "tokenizer": self.vectorizer_.tokenizer}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        if state["files"] is not None:
            own = state["tokenizer"] if callable(state["tokenizer"]) else None
            vars(self).update(vars(self._from_files(state["files"], Path("pickle"), own)))
        vars(self).update(state["params"])
        vars(self).update(state.get("others", {}))  # a subclass's attributes; earlier versions did not keep them


_LEARNED = ("classes_", "model_", "vectorizer_", "history_", "best_epoch_")
_FILES = (saving.CONFIG, saving.WEIGHTS, _VOCABULARY, _LABELS)
_Part = tuple[list[str], Numbers, Weights]


def _merit(accuracy: npt.ArrayLike, loss: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """How good epochs are: more is better. The loss decides between equally accurate ones."""
    return np.asarray(accuracy, np.float64) - _LOSS_COUNTS * np.asarray(loss, np.float64)


class _MostAccurate(EarlyStopping):
    """Among equally accurate epochs, which are common with few texts, the one with the least loss is best."""

    def _value(self, logs: Logs | None) -> float:
        return float(_merit(super()._value(logs), (logs or {})["val_loss"]))


def _best_epoch(history: Mapping[str, Sequence[float]]) -> int | None:
    """The epoch that `_MostAccurate` has found, from 1; None without validation."""
    if "val_loss" not in history:
        return None
    return int(_merits(history).argmax()) + 1


def _merits(history: Mapping[str, Sequence[float]]) -> npt.NDArray[np.float64]:
    """How good each epoch is; one with NaN is the worst."""
    return np.nan_to_num(_merit(history["val_accuracy"], history["val_loss"]), nan=-np.inf)


def _best_stretch(history: Mapping[str, Sequence[float]]) -> int:
    """The epoch, from 1, that is best together with its two neighbours, counting as much as both of them.

    On some hundred texts a single epoch is better than its neighbours by chance, which another training does not repeat.
    """
    beside = np.pad(_merits(history), 1, mode="edge")
    return int((beside[:-2] + 2 * beside[1:-1] + beside[2:]).argmax()) + 1


def _is_token(vectorizer: TextVectorizer, word: str) -> bool:
    return isinstance(word, str) and vectorizer.tokenize(word) == [word]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | np.bool_ | np.integer | np.floating)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"TextClassifier: {value!r} is a {type(value).__name__}, expected what JSON can hold")


def _checked(texts: Iterable[str], name: str) -> Iterator[str]:
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise TypeError(f"TextClassifier: {name} is a {type(texts).__name__}, expected a list of str")
    if getattr(texts, "ndim", 1) != 1:
        raise ValueError(
            f"TextClassifier: {name} has the shape {getattr(texts, 'shape', '?')}, expected [N], a str for each text"
        )
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"TextClassifier: {name}[{index}] is a {type(text).__name__}, expected a str")
        yield text


def _relative(weights: Weights) -> Weights:
    """The weights as multiples of their mean; all 1 if that is 0."""
    mean = weights.mean()
    return weights / mean if mean else np.ones_like(weights)


def _texts_of(texts: Iterable[str], name: str = "texts") -> list[str]:
    rows = list(_checked(texts, name))
    if not rows:
        raise ValueError(f"TextClassifier: {name} is empty, expected at least one text")
    return rows


def _chunks(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(islice(texts, size)):
        yield chunk


def _seed_of(random_state: Any) -> int:
    """A seed from None, a number or one of NumPy's generators, as in scikit-learn."""
    if random_state is None:
        return int(_random.generator().integers(1 << 62))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(1 << 31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(1 << 62))
    if not isinstance(random_state, int | np.integer):
        raise TypeError(f"TextClassifier: random_state is {random_state!r}, expected None, a whole number or a generator")
    return whole_number("TextClassifier", "random_state", random_state, 0)


def _validation(given: Any, classes: Labels) -> _Part:
    """validation_data (texts, labels[, sample_weight]), checked."""
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise ValueError(
            "TextClassifier: validation_data has another form than (texts, labels) or (texts, labels, sample_weight)"
        )
    texts, labels, weights = (*given, None)[:3]
    rows = _texts_of(texts, "validation_data[0]")
    found = _labels.labels_of(labels, len(rows), name="validation_data[1]")
    numbers = _labels.numbers_of(found, classes, name="validation_data[1]")
    return rows, numbers, _labels.weights_of(weights, len(rows), name="validation_data[2]")


def _targets(numbers: Numbers, classes: Labels) -> npt.NDArray[Any]:
    """The model's target outputs: [N] for two classes, else [N, classes]."""
    return numbers if len(classes) == 2 else np.eye(len(classes), dtype=np.float32)[numbers]


def _divided(part: _Part, settings: Settings) -> tuple[_Part, _Part | None]:
    """A part to learn from, which has every label, and one to choose the epoch by: None if there is not enough for both."""
    from rnnext.datasets import held_out

    texts, numbers, weights = part
    if not settings.validation_fraction:
        return part, None
    one_in = 1 / settings.validation_fraction
    if one_in > len(texts) ** 2:  # not even by chance
        return part, None
    whole = round(one_in)
    out = held_out(texts, one_in=whole if math.isclose(one_in, whole) else one_in, purpose="validation")
    learned = np.unique(numbers[~out])
    out &= np.isin(numbers, learned)
    if not out.any():
        return part, None

    def chosen(which: npt.NDArray[np.bool_]) -> _Part:
        return [text for text, wanted in zip(texts, which, strict=True) if wanted], numbers[which], weights[which]

    return chosen(~out), chosen(out)
