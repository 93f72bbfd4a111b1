"""One row's way through the chain: every request and every answer, in order."""
