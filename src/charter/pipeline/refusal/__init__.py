"""The refusal classifier."""
