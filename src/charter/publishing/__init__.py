"""A run's model, or an adapter, exported to its own folder that vLLM can serve, with a card and a check."""
