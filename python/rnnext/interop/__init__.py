"""Weights and models from and to Keras, PyTorch and ONNX, whose packages are imported only where they are needed.

For what does not fit, an error names the tensor, its shape and what was expected, and then nothing has changed. A conversion
that cannot be exact is refused.
"""

from rnnext.interop._keras import from_keras, to_keras
from rnnext.interop._onnx import OnnxNode, from_onnx, weights_from_onnx
from rnnext.interop._onnx_graph import to_onnx, weights_to_onnx
from rnnext.interop._torch import from_torch, to_torch, weights_from_torch, weights_to_torch

__all__ = [
    "OnnxNode",
    "from_keras",
    "from_onnx",
    "from_torch",
    "to_keras",
    "to_onnx",
    "to_torch",
    "weights_from_onnx",
    "weights_from_torch",
    "weights_to_onnx",
    "weights_to_torch",
]
