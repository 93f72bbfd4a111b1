"""Read-only views of a run: estimate, trace, explain, preview and compare."""
