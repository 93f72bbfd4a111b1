"""What became of single rows of a run, and why."""
