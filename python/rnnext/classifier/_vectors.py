"""Ready-made word vectors for the words of a vocabulary."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_OWNER = "TextClassifier"

Floats = npt.NDArray[np.float32]
_Take: TypeAlias = Callable[[str], bool]  # whether a word's vector is wanted


def vectors_for(
    vectors: Any, words: Sequence[str], more: int = 0, is_token: Callable[[str], bool] = bool
) -> tuple[list[str], Floats]:
    """(further words, matrix [V, D]): the vectors of `words`, and of up to `more` further words, for which `is_token` holds.

    `vectors` may be a dict from words to arrays, or anything with `in` and `[word]`, which yields no further words; (words,
    matrix [N, D]); or a file: `.npz` with the arrays `words` (str, or UTF-8 bytes with a line for each) and `vectors` [N, D],
    else text with a word and its numbers on each line, as GloVe and word2vec write it. Further words come in the order of the
    vectors. A word without a vector gets zeros; a contraction without one (don't) gets the mean of its parts (do, n't).
    TypeError or ValueError if `vectors` is something else, or has no vector for any of `words`.
    """
    parts = {word: _parts(word) for word in words if "'" in word[1:]}
    wanted = {*words, *(part for each in parts.values() for part in each)}
    known, further = set(words), dict[str, None]()

    def take(word: str) -> bool:
        if word not in known and len(further) < more and is_token(word):
            further[word] = None
        return word in wanted or word in further

    found = dict(_pairs(vectors, wanted, take))
    for word, each in parts.items():
        if word not in found and any(part in found for part in each):
            found[word] = np.mean([found[part] for part in each if part in found], axis=0)
    sizes = {vector.shape for vector in found.values()}
    if not any(word in found for word in words):
        raise ValueError(f"{_OWNER}: vectors has none of the {len(words)} words of the vocabulary")
    if len(sizes) != 1 or len(size := sizes.pop()) != 1:
        raise ValueError(f"{_OWNER}: vectors has shapes of different words, or not [D]: {sorted(sizes)}")
    matrix = np.zeros((len(words) + len(further), *size), np.float32)
    for row, word in enumerate([*words, *further]):
        if word in found:
            matrix[row] = found[word]
    if not np.isfinite(matrix).all():
        raise ValueError(f"{_OWNER}: vectors has numbers that are not finite")
    return list(further), matrix


def _parts(word: str) -> list[str]:
    """The parts of a contraction, as treebanks cut English: do n't, it 's."""
    if word.endswith("n't"):
        return [word[:-3], "n't"]
    stem, _, rest = word.partition("'")
    return [stem, f"'{rest}"]


def _pairs(vectors: Any, wanted: set[str], take: _Take) -> Iterator[tuple[str, Floats]]:
    if isinstance(vectors, str | os.PathLike):
        path = Path(vectors)
        if path.suffix == ".npz":
            yield from _of_matrix(*_read_npz(path), take)
        else:
            yield from _read_text(path, take)
    elif isinstance(vectors, tuple) and len(vectors) == 2:
        yield from _of_matrix(*vectors, take)
    elif isinstance(vectors, Mapping):
        yield from ((word, np.asarray(vectors[word], np.float32)) for word in vectors if take(word))
    elif hasattr(vectors, "__getitem__") and hasattr(vectors, "__contains__") and not isinstance(vectors, bytes):
        yield from ((word, np.asarray(vectors[word], np.float32)) for word in sorted(wanted) if word in vectors)
    else:
        raise TypeError(f"{_OWNER}: vectors is a {type(vectors).__name__}, expected a dict, (words, matrix) or a path")


def _of_matrix(words: Iterable[str], matrix: Any, take: _Take) -> Iterator[tuple[str, Floats]]:
    if isinstance(words, Iterator):  # of which a second training would find nothing left
        raise TypeError(f"{_OWNER}: vectors has a {type(words).__name__} of words, expected a list")
    listed, values = list(words), np.asarray(matrix)
    if values.ndim != 2 or len(values) != len(listed) or values.dtype.kind not in "iuf":
        raise ValueError(
            f"{_OWNER}: vectors has {len(listed)} words and a matrix of shape {values.shape}, expected ({len(listed)}, D)"
        )
    yield from ((word, values[row].astype(np.float32)) for row, word in enumerate(listed) if take(word))


def _read_npz(path: Path) -> tuple[list[str], Any]:
    try:
        with np.load(path) as file:
            words, matrix = file["words"], file["vectors"]
        listed = words.tobytes().decode("utf-8").split("\n") if words.dtype == np.uint8 else [*map(str, words.tolist())]
    except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        what = f" ({error})" if isinstance(error, KeyError | UnicodeDecodeError) else ""  # others may advise to load pickles
        raise ValueError(f"{path}: not an .npz file with the arrays words and vectors{what}") from error
    return listed, matrix


def _read_text(path: Path, take: _Take) -> Iterator[tuple[str, Floats]]:
    from rnnext.datasets._lines import lines_of

    size = 0
    with lines_of(path) as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip(" \r\n")
            if not line:
                continue
            word, _, numbers = line.partition(" ")
            if number == 1 and word.isdecimal() and numbers.isdecimal():  # word2vec's first line: how many, how long
                size = int(numbers)
                continue
            size = size or len(numbers.split())
            if line.count(" ") > size and len(fields := line.rsplit(maxsplit=size)) > size:  # a token with blanks in it
                word, numbers = fields[0], " ".join(fields[1:])
            if not take(word):
                continue
            try:
                vector = np.array(numbers.split(), np.float32)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: expected a word and numbers ({error})") from error
            if not 0 < len(vector) == size:
                raise ValueError(f"{path}:{number}: has {len(vector)} numbers, expected a word and {size or 'some'} numbers")
            yield word, vector
