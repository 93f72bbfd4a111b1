"""Training: SFT on revisions, then DPO with soft labels, each in its own process.

This is the only package that imports torch and TRL, and only its modules that run inside that process do;
``from charter.training import run_training`` stays light.
"""

from charter.training.launch import TrainingResult, run_training

__all__ = ["TrainingResult", "run_training"]
