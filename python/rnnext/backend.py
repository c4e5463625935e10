"""What programs written for Keras look for in `keras.backend`."""

from rnnext.utils import clear_session

__all__ = ["clear_session"]
