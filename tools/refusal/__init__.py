"""Trains the classifier of refusals."""
