"""Respond, critique, revise, pair and judge: pure async functions over rows, given a way to ask a model."""
