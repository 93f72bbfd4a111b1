"""Public tools for tests: servers and models that are real to their callers and need no weights."""
