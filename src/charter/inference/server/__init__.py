"""The vLLM processes that Charter starts."""
