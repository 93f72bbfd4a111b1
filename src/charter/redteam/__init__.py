"""Red teaming: requests are invented, put to a model in several styles, and kept where it fails."""
