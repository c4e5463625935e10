"""Layers with Keras 3's names, arguments, weights and numbers."""

from rnnext.layers._activation import Activation
from rnnext.layers._bidirectional import Bidirectional
from rnnext.layers._bigrams import BigramEmbedding, frequent_pairs
from rnnext.layers._branches import Branches
from rnnext.layers._dense import Dense
from rnnext.layers._dropout import Dropout, SpatialDropout1D
from rnnext.layers._embedding import Embedding
from rnnext.layers._gru import GRU
from rnnext.layers._input import Input, InputLayer
from rnnext.layers._layer import Backprop, Gather, Layer
from rnnext.layers._lstm import LSTM
from rnnext.layers._masking import Masking
from rnnext.layers._pooling import AttentionPooling1D, ConcatPooling1D, GlobalAveragePooling1D, GlobalMaxPooling1D
from rnnext.layers._reshaping import Flatten, RepeatVector
from rnnext.layers._wrapper import TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "AttentionPooling1D",
    "Backprop",
    "Bidirectional",
    "BigramEmbedding",
    "Branches",
    "ConcatPooling1D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Gather",
    "GlobalAveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "GlobalMaxPooling1D",
    "Input",
    "InputLayer",
    "Layer",
    "Masking",
    "RepeatVector",
    "SpatialDropout1D",
    "TimeDistributed",
    "deserialize",
    "frequent_pairs",
    "serialize",
]

GlobalAvgPool1D, GlobalMaxPool1D = GlobalAveragePooling1D, GlobalMaxPooling1D  # Keras's shorter names

_CLASSES: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        Activation,
        AttentionPooling1D,
        Bidirectional,
        BigramEmbedding,
        Branches,
        ConcatPooling1D,
        Dense,
        Dropout,
        Embedding,
        Flatten,
        GRU,
        GlobalAveragePooling1D,
        GlobalMaxPooling1D,
        InputLayer,
        LSTM,
        Masking,
        RepeatVector,
        SpatialDropout1D,
        TimeDistributed,
    )
}


def serialize(layer: Layer) -> dict[str, object]:
    """The layer's class and constructor arguments, as JSON can hold them. ValueError if it is none of this module's."""
    if _CLASSES.get(type(layer).__name__) is not type(layer):
        raise ValueError(f"{layer.name}: is a {type(layer).__name__}, expected one of this module's layers, to be read again")
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def deserialize(description: dict[str, object]) -> Layer:
    """The layer, without weights, that `serialize` described; ValueError if it is none of this module's."""
    name, config = description["class_name"], description["config"]
    if not isinstance(name, str) or name not in _CLASSES or not isinstance(config, dict):
        raise ValueError(f"layer class is {name!r}, expected one of {', '.join(sorted(_CLASSES))}")
    return _CLASSES[name].from_config(config)
