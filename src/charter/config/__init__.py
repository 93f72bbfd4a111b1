"""The configuration: the YAML file, the flow's parameters and the form in the Prefect UI are this."""

from charter.config.audit import Audit, PairColumn, PairFormat
from charter.config.budget import Budget
from charter.config.evaluation import Budgets, Evaluation, Gate
from charter.config.generation import Generation, Selection
from charter.config.judging import Judge, JudgeKind, Member
from charter.config.load import load_config, parse_config, read_override
from charter.config.pairs import Filters, Pairs, Strategies
from charter.config.prompts import Prompts
from charter.config.section import Count, Section, Share
from charter.config.serving import Serving
from charter.config.training import Dpo, Optimisation, Sft, Training
from charter.config.whole import Config

__all__ = [
    "Audit",
    "Budget",
    "Budgets",
    "Config",
    "Count",
    "Dpo",
    "Evaluation",
    "Filters",
    "Gate",
    "Generation",
    "Judge",
    "JudgeKind",
    "Member",
    "Optimisation",
    "PairColumn",
    "PairFormat",
    "Pairs",
    "Prompts",
    "Section",
    "Selection",
    "Serving",
    "Sft",
    "Share",
    "Strategies",
    "Training",
    "load_config",
    "parse_config",
    "read_override",
]
