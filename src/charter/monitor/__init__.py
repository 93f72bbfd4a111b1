"""A served model, watched: probe after probe against the evaluation with which it was accepted."""
