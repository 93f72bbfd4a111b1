"""The configuration: one pydantic model for the YAML file, the flow's parameters and the form in the Prefect UI."""

from charter.config.evaluation import Adherence, Evaluation, Harness, Probes, Suite
from charter.config.gate import DriftLimits, Gate, ProbeLimits, ProbeRegressionLimits, RegressionLimits
from charter.config.generation import Filters, Generation, Pairs, Prompts, RoleModel, Selection, Strategies
from charter.config.judging import Audit, Judge, Member, PairColumn, PairFormat, Review
from charter.config.load import load_config, parse_config, read_override
from charter.config.monitoring import Embeddings, Monitor, RedTeam
from charter.config.root import Config
from charter.config.section import Fraction, PositiveInt, Section
from charter.config.serving import Budget, Runner, Serving
from charter.config.training import Dpo, Grpo, Optimisation, Reward, Sft, Tokens, Training

__all__ = [
    "Adherence",
    "Audit",
    "Budget",
    "Config",
    "Dpo",
    "DriftLimits",
    "Embeddings",
    "Evaluation",
    "Filters",
    "Fraction",
    "Gate",
    "Generation",
    "Grpo",
    "Harness",
    "Judge",
    "Member",
    "Monitor",
    "Optimisation",
    "PairColumn",
    "PairFormat",
    "Pairs",
    "PositiveInt",
    "ProbeLimits",
    "ProbeRegressionLimits",
    "Probes",
    "Prompts",
    "RedTeam",
    "RegressionLimits",
    "Review",
    "Reward",
    "RoleModel",
    "Runner",
    "Section",
    "Selection",
    "Serving",
    "Sft",
    "Strategies",
    "Suite",
    "Tokens",
    "Training",
    "load_config",
    "parse_config",
    "read_override",
]
