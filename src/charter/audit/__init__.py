"""The judge's audit: how often it is right, how sure it is, and what misleads it."""
