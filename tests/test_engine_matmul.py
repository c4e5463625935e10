"""Products of whole matrices: right, and the same bits whatever stands beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from rnnext import _core, set_num_threads

Array = npt.NDArray[np.float32]

SHAPES = [(0, 3, 2), (1, 1, 1), (1, 100, 1), (2, 7, 0), (3, 130, 9), (8, 65, 33), (17, 64, 130), (33, 500, 65), (600, 129, 40)]


def normal(*shape: int) -> Array:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def close(found: Array, expected: npt.NDArray[np.float64], terms: int) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(1, terms) ** 0.5 * 4)


@pytest.mark.parametrize(("N", "K", "M"), SHAPES)
def test_products_are_numpys(N: int, K: int, M: int) -> None:
    a, b, d = normal(N, K), normal(K, M), normal(N, M)
    close(_core.matmul(a, b), a.astype(np.float64) @ b, K)
    close(_core.matmul(d, b.T), d.astype(np.float64) @ b.T, M)
    close(_core.matmul_transposed(a, d), a.T.astype(np.float64) @ d, N)


@pytest.mark.usefixtures("_same_threads_afterwards")
@pytest.mark.parametrize(("N", "K", "M"), SHAPES)
def test_bits_do_not_depend_on_threads_or_rows_or_memory(N: int, K: int, M: int) -> None:
    a, b, d = normal(N, K), normal(K, M), normal(N, M)
    found = []
    for threads in (1, 2, 3, 5, 8):
        set_num_threads(threads)
        found.append((_core.matmul(a, b), _core.matmul_transposed(a, d)))
    for products in found[1:]:
        for one, other in zip(found[0], products, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)
    product, gradient = found[0]
    np.testing.assert_array_equal(_core.matmul(np.asfortranarray(a), np.asfortranarray(b)), product, strict=True)
    np.testing.assert_array_equal(_core.matmul_transposed(np.asfortranarray(a), np.asfortranarray(d)), gradient, strict=True)
    np.testing.assert_array_equal(_core.matmul(a[::-1], b)[::-1], product, strict=True)
    for row in range(min(N, 5)):
        np.testing.assert_array_equal(_core.matmul(a[row : row + 1], b), product[row : row + 1], strict=True)


def test_not_a_number_goes_where_it_belongs() -> None:
    a, b = normal(9, 70), normal(70, 35)
    a[4, 3] = np.nan
    b[5, 34] = np.inf
    product = _core.matmul(a, b)
    assert np.isnan(product[4]).all()
    assert np.isinf(np.delete(product[:, 34], 4)).all()
    assert np.isfinite(np.delete(product, 4, 0)[:, :34]).all()


@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        ([[1.0]], normal(1, 1), TypeError, "matmul: a is a list, expected a NumPy array"),
        (normal(2, 3).astype(np.float64), normal(3, 2), TypeError, "matmul: a has dtype float64, expected float32"),
        (normal(2, 3), normal(3), ValueError, r"matmul: b has shape \(3,\), expected \[K, M\]"),
        (normal(2, 3), normal(2, 3), ValueError, r"matmul: b has shape \(2, 3\), expected \(3, 3\) = \[K, M\]"),
    ],
)
def test_refusals(a: Any, b: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        _core.matmul(a, b)
    with pytest.raises(ValueError, match=r"matmul_transposed: d has shape \(3, 1\), expected \(2, 1\) = \[N, M\]"):
        _core.matmul_transposed(normal(2, 3), normal(3, 1))


_TRAINING = """
import hashlib
import numpy as np
from rnnext.layers import LSTM, AttentionPooling1D, Dense, TimeDistributed
from rnnext.models import Sequential
from rnnext.utils import set_random_seed

set_random_seed(0)
rng = np.random.default_rng(0)
x, y = rng.standard_normal((96, 40, 12)).astype(np.float32), rng.integers(0, 2, 96).astype(np.float32)
tagger = [LSTM(48, return_sequences=True), TimeDistributed(Dense(130, activation="tanh"))]
model = Sequential([*tagger, AttentionPooling1D(70), Dense(96), Dense(1)])
model.compile("adam", "mse")
model.fit(x, y, epochs=2, batch_size=48, verbose=0)
digest = hashlib.sha256()
for array in [*model.get_weights(), model.predict(x, verbose=0)]:
    digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_a_training_does_not_depend_on_the_number_of_threads_of_a_blas() -> None:
    """OMP_NUM_THREADS is read by NumPy's BLAS, too, whose products differ by it."""
    found = set()
    for threads in (1, 2, 4):
        variables = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        run = subprocess.run([sys.executable, "-c", _TRAINING], env=variables, check=True, capture_output=True, text=True)
        found.add(run.stdout)
    assert len(found) == 1
