"""Third-party benchmarks, run by inspect-ai and lm-evaluation-harness in separate processes."""
