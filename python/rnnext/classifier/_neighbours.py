"""First vectors of words, from the words that they appear with in the texts, so that training does not begin at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_CONTEXT = 512  # how many of the most frequent words describe all words
_WINDOW = 5  # words on each side
_RESERVED = 2  # padding and unknown words


def vectors_from_neighbours(rows: Sequence[npt.NDArray[np.int32]], vocabulary: int, size: int) -> npt.NDArray[np.float32]:
    """Vectors [vocabulary, size] with a mean square of 1 in each row, 0 for words that have no frequent word near them.

    They are the positive pointwise mutual information of each word with the most frequent ones within `_WINDOW` words, nearer
    ones counting more, reduced to `size` directions by a singular value decomposition (Levy, Goldberg & Dagan 2015: the square
    roots of the singular values, contexts' frequencies to the power 0.75). Ids must be in order of falling frequency.
    """
    context = min(_CONTEXT, vocabulary)
    apart = np.zeros(_WINDOW, np.int32)
    flat = np.concatenate([part for row in rows for part in (row, apart)]).astype(np.int64)
    counts = np.zeros(vocabulary * context, np.float32)
    for distance in range(1, _WINDOW + 1):
        for word, near in ((flat[:-distance], flat[distance:]), (flat[distance:], flat[:-distance])):
            both = (word >= _RESERVED) & (near >= _RESERVED) & (near < context)
            found = np.bincount(word[both] * context + near[both], minlength=len(counts))
            counts += found * np.float32((_WINDOW + 1 - distance) / _WINDOW)
    table = counts.reshape(vocabulary, context)
    of_word = table.sum(axis=1, keepdims=True)
    of_context = table.sum(axis=0, keepdims=True) ** np.float32(0.75)
    expected = of_word * (of_context / max(float(of_context.sum()), 1.0))
    ratio = np.divide(table, expected, out=np.ones_like(table), where=table > 0)
    information = np.maximum(np.log(ratio, out=ratio), 0, out=ratio)
    values, directions = np.linalg.eigh(information.T @ information)  # squares of the singular values, ascending
    values, directions = values[::-1][:size], directions[:, ::-1][:, :size]
    vectors = np.zeros((vocabulary, size), np.float32)
    # U √S = (U S) / √S
    vectors[:, : len(values)] = information @ (directions / np.maximum(values, 1e-6) ** np.float32(0.25))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: npt.NDArray[np.float32] = vectors * (np.float32(np.sqrt(size)) / np.maximum(norms, np.float32(1e-6)))
    return result
