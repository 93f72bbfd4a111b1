"""Benchmarks of others, run by inspect-ai and lm-evaluation-harness in processes of their own."""
