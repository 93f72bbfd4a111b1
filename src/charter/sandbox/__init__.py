"""The sandbox: a miniature world of plain English with exact ground truth, and a small assistant that lives in it."""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
"""The shipped model: a Hugging Face folder that vLLM, transformers and TRL load as it is."""
