"""What the flows share: the run they work in, their tasks, progress, servers and artifacts."""
