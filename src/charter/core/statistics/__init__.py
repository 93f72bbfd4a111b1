"""Intervals, tests and association measures."""
