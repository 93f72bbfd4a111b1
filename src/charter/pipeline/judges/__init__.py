"""The judges, and knowing them: how far their labels can be trusted, measured on pairs whose better one is known."""
