"""From texts to ids: cleaning, tokens and a vocabulary."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from rnnext._checks import flag, whole_number, whole_number_or_none
from rnnext._tokens import Tokenizer, count_cjk
from rnnext.preprocessing.sequence import pad_sequences

_Ids = npt.NDArray[np.int32]
_Side = Literal["pre", "post"]
_Split: TypeAlias = Callable[[str], Iterable[str]] | Literal["jieba"]

_FORMAT = 1
_RESERVED = ("", "[UNK]")  # the words of ids 0 (padding) and 1 (unknown), as in Keras
_TEXTS_AT_ONCE = 1024  # whose tokens are counted together
_SAMPLE = 500  # texts that are looked at to detect the language
_CUSTOM = "callable"  # in a file, for a tokenizer that is a function, which the file does not hold


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


def _split_of(tokenizer: object) -> Callable[[str], Iterable[str]] | None:
    """The function that `tokenizer` stands for, None for None. TypeError if it stands for none."""
    if tokenizer is None or callable(tokenizer):
        return tokenizer
    if tokenizer != "jieba":
        raise TypeError(f"TextVectorizer: tokenizer is {tokenizer!r}, expected None, 'jieba' or a function")
    return _jieba_words


def _jieba_words(text: str) -> list[str]:
    try:
        import jieba
    except ImportError as error:
        raise ValueError("TextVectorizer: tokenizer 'jieba' needs the package jieba: pip install 'rnnext[chinese]'") from error
    return [word for word in jieba.cut(text) if not word.isspace()]


def language_of(texts: Sequence[str]) -> Literal["en", "zh"]:
    """Whether most letters are of scripts written without blanks ("zh") or not ("en"). Looks at some hundred of the texts."""
    sample = "".join(texts[:: 1 + len(texts) // _SAMPLE])
    return "zh" if 2 * count_cjk(sample) > sum(map(str.isalpha, sample)) else "en"


class TextVectorizer:
    """Turns texts into ids of a vocabulary that is learned from texts.

    Cleaning: HTML tags become blanks and entities the characters that they stand for (`strip_html`), Unicode's NFKC turns
    full-width forms into ordinary ones, ’ becomes ', letters become lower case (`lowercase`).

    Tokens with `unit="word"`: runs of letters and digits, with the apostrophes inside them (don't); each !, ? and emoji; each
    Chinese character and each kana, as those scripts have no blanks. Everything else only separates tokens, unless with
    `punctuation` every other sign is a token, too. With `unit="char"`: each character, runs of blanks as one. `tokenizer`
    replaces all this by a function from a cleaned text to its tokens; "jieba" cuts Chinese into words with that package, and
    leaves blanks out.

    Ids: 0 is padding, 1 any token that is not in the vocabulary, then come the tokens by falling frequency, equally frequent
    ones in order of their first appearance. `max_tokens` includes the two reserved ids (None: no limit); tokens seen less than
    `min_count` times are left out. Texts of more than `maxlen` tokens are cut at the side that `truncating` names; "middle"
    keeps a quarter of `maxlen` from the beginning and three quarters from the end.

    `transform` returns a list of int32 arrays `[T_n]` with `output="ragged"`, or one int32 array `[N, maxlen]` with `"padded"`
    (the length of the longest text if `maxlen` is None), padded with 0 at the side that `padding` names.
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
        truncating: _Side | Literal["middle"] = "pre",
        tokenizer: _Split | None = None,
        punctuation: bool = False,
    ) -> None:
        _check_choice("unit", unit, ("word", "char"))
        _check_choice("output", output, ("ragged", "padded"))
        _check_choice("padding", padding, ("pre", "post"))
        _check_choice("truncating", truncating, ("pre", "post", "middle"))
        self.max_tokens = whole_number_or_none("TextVectorizer", "max_tokens", max_tokens, len(_RESERVED) + 1)
        self.unit = unit
        self.lowercase = flag("TextVectorizer", "lowercase", lowercase)
        self.strip_html = flag("TextVectorizer", "strip_html", strip_html)
        self.min_count = whole_number("TextVectorizer", "min_count", min_count)
        self.output = output
        self.maxlen = whole_number_or_none("TextVectorizer", "maxlen", maxlen)
        self.padding: _Side = padding
        self.truncating = truncating
        self.tokenizer = tokenizer
        self.punctuation = flag("TextVectorizer", "punctuation", punctuation)
        self._tokenizer = Tokenizer(
            unit,
            _split_of(tokenizer),
            lowercase=self.lowercase,
            strip_html=self.strip_html,
            punctuation=self.punctuation,
        )
        self._words: list[str] = []
        self._ids: dict[str, int] = {}

    def tokenize(self, text: str) -> list[str]:
        """The tokens of one text."""
        return self._tokenizer(text)

    def fit(self, texts: Iterable[str]) -> TextVectorizer:
        """Learn the vocabulary, in place of an earlier one. TypeError names the index of what is not a str."""
        self._learn(texts)
        return self

    def fit_transform(self, texts: Iterable[str]) -> list[_Ids] | _Ids:
        """`fit` and `transform` of the same texts, but each text is cut into tokens only once."""
        rows: list[_Ids] = []
        ids = self._learn(texts, rows)
        return self._finished([ids[self.cut(row)] for row in rows])

    def extend(self, words: Iterable[str]) -> None:
        """Add words to the vocabulary, with ids after the present ones. ValueError before `fit`, or for a word that it has."""
        known, further = self._require_vocabulary(), list(words)
        if len({*known, *further}) < len(set(known)) + len(further):  # set: "[UNK]" may also be a token, and be there twice
            raise ValueError("TextVectorizer: words has one twice, or one that is in the vocabulary")
        self._set_vocabulary([*known, *further])

    def transform(self, texts: Iterable[str]) -> list[_Ids] | _Ids:
        """Ids of each text's tokens. TypeError names the index of what is not a str; ValueError before `fit`."""
        return self._finished(list(self.stream(texts)))

    def stream(self, texts: Iterable[str]) -> Iterator[_Ids]:
        """The rows of `transform` with `output="ragged"`, one by one as texts come: for more texts than fit into memory."""
        self._require_vocabulary()
        return (self.cut(self.ids_of(self.tokenize(text))) for text in _checked(texts))

    def ids_of(self, tokens: Iterable[str]) -> _Ids:
        """The id of each token [T], none cut off."""
        return np.array([*map(self._ids.get, tokens, repeat(1))], np.int32)

    def cut(self, row: _Ids) -> _Ids:
        """What `maxlen` leaves of a row [T] of ids, or of anything else that has an entry for each token of a text."""
        if self.maxlen is None or len(row) <= self.maxlen:
            return row
        if self.truncating == "post":
            return row[: self.maxlen]
        first = self.maxlen // 4 if self.truncating == "middle" else 0
        return np.concatenate([row[:first], row[first - self.maxlen :]])

    def __call__(self, texts: Iterable[str]) -> list[_Ids] | _Ids:
        """The same as `transform`."""
        return self.transform(texts)

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer[Any]]) -> str:
        """The tokens of one row of ids [T] as a text, without padding: words with blanks between them, characters without."""
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
            "tokenizer": self.tokenizer,  # a function as it is, which `to_json` cannot keep
            "punctuation": self.punctuation,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TextVectorizer:
        """A vectorizer with these arguments and no vocabulary yet."""
        return cls(**config)

    def to_json(self) -> bytes:
        """Arguments and vocabulary as UTF-8 JSON, to be kept with a model. ValueError before `fit`.

        A `tokenizer` that is a function is not kept: `from_json` must be given it again.
        """
        config = self.get_config()
        if callable(self.tokenizer):
            config["tokenizer"] = _CUSTOM
        content = {"format": _FORMAT, "config": config, "vocabulary": self.vocabulary}
        return json.dumps(content, ensure_ascii=False, indent=0).encode("utf-8", "surrogatepass")

    @classmethod
    def from_json(cls, content: bytes, *, tokenizer: Callable[[str], Iterable[str]] | None = None) -> TextVectorizer:
        """The vectorizer that `to_json` wrote, with its function, if it had one. ValueError if `content` is something else."""
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
        config = document.get("config", {})
        try:
            if config.get("tokenizer") == _CUSTOM:
                if tokenizer is None:
                    raise ValueError("TextVectorizer: it was made with a tokenizer of its own, which must be given again")
                config["tokenizer"] = tokenizer
            elif tokenizer is not None:
                raise ValueError("TextVectorizer: a tokenizer is given, but it was made without one of its own")
            vectorizer = cls.from_config(config)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"TextVectorizer: the vocabulary has a wrong configuration ({error})") from error
        vectorizer._set_vocabulary(words)
        if len(vectorizer._ids) + len(_RESERVED) != len(words):
            raise ValueError("TextVectorizer: the vocabulary has a word twice")
        return vectorizer

    def _learn(self, texts: Iterable[str], rows: list[_Ids] | None = None) -> _Ids:
        """Count tokens and choose the vocabulary. Appends each text's tokens as numbers to `rows`; returns each number's id."""
        numbers: defaultdict[str, int] = defaultdict()
        numbers.default_factory = numbers.__len__  # a new token gets the next number
        number, tokenize = numbers.__getitem__, self.tokenize
        counts = np.zeros(0, np.int64)
        checked = _checked(texts)
        while chunk := list(islice(checked, _TEXTS_AT_ONCE)):
            found = [np.array([*map(number, tokenize(text))], np.int32) for text in chunk]
            counts = np.bincount(np.concatenate(found), minlength=len(numbers)) + np.pad(
                counts, (0, len(numbers) - len(counts))
            )
            if rows is not None:
                rows += found
        limit = None if self.max_tokens is None else self.max_tokens - len(_RESERVED)
        frequent = np.argsort(-counts, kind="stable")[:limit]
        frequent = frequent[counts[frequent] >= self.min_count]
        words = list(numbers)
        for word in words:
            if not isinstance(word, str):
                raise TypeError(f"TextVectorizer: tokenizer returned the token {word!r}, expected str")
        self._set_vocabulary([*_RESERVED, *(words[n] for n in frequent.tolist())])
        ids = np.ones(len(words), np.int32)
        ids[frequent] = np.arange(len(_RESERVED), len(_RESERVED) + len(frequent))
        return ids

    def _finished(self, rows: list[_Ids]) -> list[_Ids] | _Ids:
        if self.output == "ragged":
            return rows
        padded: _Ids = pad_sequences(rows, maxlen=self.maxlen, padding=self.padding)
        return padded

    def _set_vocabulary(self, words: list[str]) -> None:
        self._words = words
        self._ids = {word: number for number, word in enumerate(words) if number >= len(_RESERVED)}

    def _require_vocabulary(self) -> list[str]:
        if not self._words:
            raise ValueError("TextVectorizer: there is no vocabulary yet, call fit first")
        return self._words
