"""What made files that Charter ships: the sandbox's model, and the refusal classifier's weights. Not in the wheel."""
