"""Red teaming: invent requests, ask a model each of them in several styles, and keep those on which it fails."""
