"""Trains the sandbox's model, and checks what it can do."""
