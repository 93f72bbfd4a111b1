"""The configuration: the YAML file, the flow's parameters and the form in the Prefect UI are this."""

from charter.config.audit import Audit, PairColumn, PairFormat
from charter.config.budget import Budget
from charter.config.evaluation import Budgets, Drift, Evaluation, Gate, ProbeBudgets, ProbeLimits, Probes
from charter.config.generation import Generation, Selection
from charter.config.judging import Judge, JudgeKind, Member
from charter.config.load import load_config, parse_config, read_override
from charter.config.monitoring import Monitor
from charter.config.pairs import Filters, Pairs, Strategies
from charter.config.prompts import Prompts
from charter.config.redteam import Embeddings, RedTeam
from charter.config.review import Review
from charter.config.running import Runner
from charter.config.section import Count, Section, Share
from charter.config.serving import Serving
from charter.config.suites import Harness, Suite
from charter.config.tokens import Tokens
from charter.config.training import Dpo, Grpo, Optimisation, Reward, Sft, Training
from charter.config.whole import Config

__all__ = [
    "Audit",
    "Budget",
    "Budgets",
    "Config",
    "Count",
    "Dpo",
    "Drift",
    "Embeddings",
    "Evaluation",
    "Filters",
    "Gate",
    "Generation",
    "Grpo",
    "Harness",
    "Judge",
    "JudgeKind",
    "Member",
    "Monitor",
    "Optimisation",
    "PairColumn",
    "PairFormat",
    "Pairs",
    "ProbeBudgets",
    "ProbeLimits",
    "Probes",
    "Prompts",
    "RedTeam",
    "Review",
    "Reward",
    "Runner",
    "Section",
    "Selection",
    "Serving",
    "Sft",
    "Share",
    "Strategies",
    "Suite",
    "Tokens",
    "Training",
    "load_config",
    "parse_config",
    "read_override",
]
