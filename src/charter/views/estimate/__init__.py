"""What a run will ask, before it is started: calls, tokens and time, from a probe of a few rows."""
