"""The version. The package's metadata take it from here: pyproject.toml."""

__version__ = "0.1.0"
