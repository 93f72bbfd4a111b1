"""Public tools for tests: real servers that need no model."""

from charter.testing.null_server import Misbehaviour, NullServer, run_null_server

__all__ = ["Misbehaviour", "NullServer", "run_null_server"]
