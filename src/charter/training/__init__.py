"""Training: SFT on revisions, then DPO with soft labels, each in a process of its own.

This is the only room that imports torch and TRL, and only the modules that run inside that process do;
``from charter.training import train`` stays light.
"""

from charter.training.launch import TrainingResult, train

__all__ = ["TrainingResult", "train"]
