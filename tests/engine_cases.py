"""The forms of a cell, names and comparisons that the tests of the engine and of its reference share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

EPSILON = float(np.finfo(np.float32).eps)
VALUES = ("y", "h_T", "c_T")  # in the order recurrent_forward returns them
GRADIENTS = ("dx", "dkernel", "drecurrent_kernel", "dbias", "dh0", "dc0")  # in the order recurrent_backward returns them
NORMS = ("kernel_norm", "recurrent_norm", "state_norm")
TERMS = ("peephole", "projection", *NORMS)  # options with weights, which have gradients
ONLY_LSTM = {"zoneout_c", "peephole", "coupled", "projection", "state_norm"}

FORMS = [  # cell, and whether its update gate writes
    ("lstm", False),
    ("gru_reset_after", False),
    ("gru_reset_after", True),
    ("gru_reset_before", False),
    ("gru_reset_before", True),
]
forms = pytest.mark.parametrize(("cell", "writes"), FORMS)


def assert_same_bits(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal float32 arrays by name, the sign of 0 and the bits of NaN included."""
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        if wanted is None:
            assert actual[name] is None, name
        else:
            np.testing.assert_array_equal(actual[name].view(np.uint32), wanted.view(np.uint32), err_msg=name, strict=True)
