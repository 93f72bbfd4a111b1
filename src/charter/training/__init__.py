"""Training: SFT on revisions, then DPO with soft labels, each in its own process.

This is the only package that imports torch and TRL, and only its modules that run inside that process do;
``from charter.training import train`` stays light.
"""

from charter.training.launch import TrainingResult, train

__all__ = ["TrainingResult", "train"]
