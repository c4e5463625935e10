"""From texts to ids: cleaning, tokens, vocabulary."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnnext.preprocessing.sequence import pad_sequences

_Ids = npt.NDArray[np.int32]
_Side = Literal["pre", "post"]

_FORMAT = 1
_RESERVED = ("", "[UNK]")  # the words of ids 0 (padding) and 1 (unknown), as in Keras
_TAG = re.compile(r"<[a-zA-Z/!][^<>]*>")
_BLANKS = re.compile(r"\s+")
# Scripts written without blanks: Han with its extensions and iteration mark, kana.
_CJK = "\u3005\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_EMOJI = "\u2600-\u27bf\U0001f300-\U0001faff"
# Vowel signs and accents of their own belong to the letter before them (Devanagari, Arabic, what NFKC cannot compose); \w does
# not take them.
_MARKS = "".join(chr(code) for code in range(0x300, 0x3000) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
_LETTERS = rf"(?:[^\W_{_CJK}]+[{_MARKS}]*)+"
_WORD = re.compile(rf"{_LETTERS}(?:'{_LETTERS})*|[{_CJK}{_EMOJI}!?]")


def _checked(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise TypeError(f"TextVectorizer: texts is a {type(texts).__name__}, expected a list of str")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"TextVectorizer: texts[{index}] is a {type(text).__name__}, expected a str")
        yield text


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"TextVectorizer: {name} is {value!r}, expected one of {', '.join(map(repr, choices))}")


def _check_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"TextVectorizer: {name} is {value!r}, expected a whole number")
    if value < least:
        raise ValueError(f"TextVectorizer: {name} is {value}, expected at least {least}")


class TextVectorizer:
    """Turns texts into ids of a vocabulary learned from texts.

    Cleaning: HTML tags become blanks and entities the characters that they stand for (`strip_html`), Unicode's NFKC makes
    full-width forms ordinary, ’ becomes ', letters become small (`lowercase`).

    Tokens with `unit="word"`: runs of letters and digits, with the apostrophes inside them (don't); each !, ? and emoji; each
    Chinese character and each kana, as those scripts have no blanks. Everything else only separates. With `unit="char"`: each
    character, runs of blanks as one.

    Ids: 0 is padding, 1 any token that is not in the vocabulary, then the tokens by falling frequency, those equally frequent
    by first appearance. `max_tokens` counts the two reserved ids (None: no limit); tokens seen less than `min_count` times are
    left out. `maxlen` cuts longer texts at the side that `truncating` says.

    `transform` returns a list of int32 arrays `[T_n]` with `output="ragged"`, or one int32 array `[N, maxlen]` with `"padded"`
    (the length of the longest text if `maxlen` is None), filled up with 0 at the side that `padding` says.
    """

    def __init__(
        self,
        max_tokens: int | None = 20000,
        *,
        unit: Literal["word", "char"] = "word",
        lowercase: bool = True,
        strip_html: bool = True,
        min_count: int = 1,
        output: Literal["ragged", "padded"] = "ragged",
        maxlen: int | None = None,
        padding: _Side = "pre",
        truncating: _Side = "pre",
    ) -> None:
        if max_tokens is not None:
            _check_count("max_tokens", max_tokens, len(_RESERVED) + 1)
        if maxlen is not None:
            _check_count("maxlen", maxlen, 1)
        _check_count("min_count", min_count, 1)
        _check_choice("unit", unit, ("word", "char"))
        _check_choice("output", output, ("ragged", "padded"))
        _check_choice("padding", padding, ("pre", "post"))
        _check_choice("truncating", truncating, ("pre", "post"))
        self.max_tokens = max_tokens
        self.unit = unit
        self.lowercase = lowercase
        self.strip_html = strip_html
        self.min_count = min_count
        self.output = output
        self.maxlen = maxlen
        self.padding: _Side = padding
        self.truncating: _Side = truncating
        self._words: list[str] = []
        self._ids: dict[str, int] = {}

    def tokenize(self, text: str) -> list[str]:
        """The tokens of one text."""
        if self.strip_html:
            if "<" in text:
                text = _TAG.sub(" ", text)
            if "&" in text:
                text = html.unescape(text)
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text).replace("’", "'")
        if self.lowercase:
            text = text.lower()
        return _WORD.findall(text) if self.unit == "word" else list(_BLANKS.sub(" ", text).strip())

    def fit(self, texts: Iterable[str]) -> TextVectorizer:
        """Learn the vocabulary, in place of one learned before. TypeError names the index of what is not a str."""
        counts: Counter[str] = Counter()
        for text in _checked(texts):
            counts.update(self.tokenize(text))
        limit = None if self.max_tokens is None else self.max_tokens - len(_RESERVED)
        frequent = [word for word, count in counts.most_common(limit) if count >= self.min_count]
        self._set_vocabulary([*_RESERVED, *frequent])
        return self

    def transform(self, texts: Iterable[str]) -> list[_Ids] | _Ids:
        """Ids of each text's tokens. TypeError names the index of what is not a str; ValueError before `fit`."""
        self._require_vocabulary()
        lookup = self._ids.get
        rows = [np.array([lookup(token, 1) for token in self._cut(self.tokenize(text))], np.int32) for text in _checked(texts)]
        if self.output == "ragged":
            return rows
        padded: _Ids = pad_sequences(rows, maxlen=self.maxlen, padding=self.padding, truncating=self.truncating)
        return padded

    def __call__(self, texts: Iterable[str]) -> list[_Ids] | _Ids:
        """The same as `transform`."""
        return self.transform(texts)

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer[Any]]) -> str:
        """The tokens of one row of ids, paddings left out: words separated by blanks, characters by nothing."""
        words = self._require_vocabulary()
        numbers = np.asarray(ids, dtype=np.int64)
        if numbers.ndim != 1:
            raise ValueError(f"TextVectorizer: ids has shape {numbers.shape}, expected [T], one row")
        for position, number in enumerate(numbers.tolist()):
            if not 0 <= number < len(words):
                raise ValueError(f"TextVectorizer: ids[{position}] is {number}, expected 0 to {len(words) - 1}")
        return (" " if self.unit == "word" else "").join(words[number] for number in numbers if number)

    @property
    def vocabulary(self) -> list[str]:
        """The token of each id, `""` and `"[UNK]"` first. ValueError before `fit`."""
        return list(self._require_vocabulary())

    def get_vocabulary(self) -> list[str]:
        """The same as `vocabulary`, by its name in Keras."""
        return self.vocabulary

    @property
    def vocabulary_size(self) -> int:
        """The number of ids in use, the two reserved ones included: an embedding's `input_dim`. ValueError before `fit`."""
        return len(self._require_vocabulary())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "max_tokens": self.max_tokens,
            "unit": self.unit,
            "lowercase": self.lowercase,
            "strip_html": self.strip_html,
            "min_count": self.min_count,
            "output": self.output,
            "maxlen": self.maxlen,
            "padding": self.padding,
            "truncating": self.truncating,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TextVectorizer:
        """A vectorizer with these arguments and no vocabulary yet."""
        return cls(**config)

    def to_json(self) -> bytes:
        """Arguments and vocabulary as UTF-8 JSON, to be kept with a model. ValueError before `fit`."""
        content = {"format": _FORMAT, "config": self.get_config(), "vocabulary": self.vocabulary}
        return json.dumps(content, ensure_ascii=False, indent=0).encode("utf-8", "surrogatepass")

    @classmethod
    def from_json(cls, content: bytes) -> TextVectorizer:
        """The vectorizer that `to_json` wrote; ValueError if that is not what `content` is."""
        try:
            document = json.loads(content.decode("utf-8", "surrogatepass"))
        except ValueError as error:
            raise ValueError(f"TextVectorizer: the vocabulary is not UTF-8 JSON ({error})") from error
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            found = document.get("format") if isinstance(document, dict) else type(document).__name__
            raise ValueError(f"TextVectorizer: the vocabulary has the format {found!r}, expected {_FORMAT}")
        words = document.get("vocabulary")
        if not isinstance(words, list) or tuple(words[:2]) != _RESERVED or not all(isinstance(word, str) for word in words):
            raise ValueError(f"TextVectorizer: the vocabulary is not a list of words that begins with {_RESERVED}")
        try:
            vectorizer = cls.from_config(document.get("config", {}))
        except TypeError as error:
            raise ValueError(f"TextVectorizer: the vocabulary has a wrong configuration ({error})") from error
        vectorizer._set_vocabulary(words)
        if len(vectorizer._ids) + len(_RESERVED) != len(words):
            raise ValueError("TextVectorizer: the vocabulary has a word twice")
        return vectorizer

    def _cut(self, tokens: list[str]) -> list[str]:
        if self.maxlen is None or len(tokens) <= self.maxlen:
            return tokens
        return tokens[-self.maxlen :] if self.truncating == "pre" else tokens[: self.maxlen]

    def _set_vocabulary(self, words: list[str]) -> None:
        self._words = words
        self._ids = {word: number for number, word in enumerate(words) if number >= len(_RESERVED)}

    def _require_vocabulary(self) -> list[str]:
        if not self._words:
            raise ValueError("TextVectorizer: there is no vocabulary yet, call fit first")
        return self._words
