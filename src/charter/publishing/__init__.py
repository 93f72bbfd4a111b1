"""A model of a run, or an adapter, as a folder of its own that vLLM serves, with its card and what was checked."""
