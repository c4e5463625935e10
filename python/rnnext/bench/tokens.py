"""Reviews to measure on: IMDB's if they are at hand, else random ones with lengths and repetitions like IMDB's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rnnext.preprocessing.sequence import pad_sequences

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reviews:
    """The ids of reviews, in random order, and their labels."""

    ids: list[Ids]
    labels: Floats  # [N]

    def at_least(self, length: int) -> Reviews:
        """The reviews of at least that many tokens. ValueError if there are none."""
        chosen = [n for n, row in enumerate(self.ids) if len(row) >= length]
        if not chosen:
            raise ValueError(f"bench: no review has {length} tokens or more")
        return Reviews([self.ids[n] for n in chosen], self.labels[chosen])

    def padded(self, length: int) -> Ids:
        """The last tokens of all reviews, [N, length], padded with 0 in front, as `pad_sequences` does."""
        padded: Ids = pad_sequences(self.ids, maxlen=length)
        return padded

    def batches(self, count: int, size: int) -> Iterator[Reviews]:
        """`count` batches of `size` reviews, starting over where there are not enough of them."""
        for n in range(count):
            rows = np.arange(n * size, (n + 1) * size) % len(self.ids)
            yield Reviews([self.ids[row] for row in rows], self.labels[rows])

    def cut(self, length: int) -> Reviews:
        """The last tokens of each review."""
        return Reviews([row[-length:] for row in self.ids], self.labels)


def imdb(path: Path, vocabulary: int) -> Reviews:
    """The 25,000 training reviews, from whatever `rnnext.datasets.imdb` can read."""
    from rnnext import datasets
    from rnnext.text import TextVectorizer

    data = datasets.imdb(path)
    ids = TextVectorizer(max_tokens=vocabulary).fit(data.train_texts).transform(data.train_texts)
    order = np.random.default_rng(0).permutation(len(ids))
    return Reviews([ids[n] for n in order], np.asarray(data.train_labels, np.float32)[order])


def drawn(vocabulary: int, count: int) -> Reviews:
    """Random reviews. Ids follow Zipf's law with exponent 1.1: 28 % of the tokens of a batch of 32 × 200 differ, 29 % in IMDB.

    Lengths are log-normal with IMDB's quantiles: 10 % under 70 tokens, half under 176, 10 % over 440.
    """
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(176), 0.72, count).astype(np.int64), 10, 2500)
    share = 1 / np.arange(1, vocabulary - 1) ** 1.1  # ids 0 and 1 are padding and unknown
    flat = rng.choice(np.arange(2, vocabulary, dtype=np.int32), lengths.sum(), p=share / share.sum())
    return Reviews(np.split(flat, np.cumsum(lengths)[:-1]), rng.integers(0, 2, count).astype(np.float32))
