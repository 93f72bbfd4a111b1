"""Charter turns a written constitution into an aligned model."""

__version__ = "0.1.0"
