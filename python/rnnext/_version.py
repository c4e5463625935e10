"""The version, from the installed package's own metadata's source."""

__version__ = "0.1.0"
