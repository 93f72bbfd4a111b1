"""The requests a model receives for a principle, exactly as rendered."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from charter.constitution.model import Constitution, Principle
from charter.core.templates import render

CONVERSATION, ANSWER_A, ANSWER_B = "(the conversation)", "(one answer)", "(the other answer)"
"""Placeholders in a shown request for what only a run knows."""


def requests_of(principle: Principle, templates: Path | None = None) -> dict[str, str]:
    """The critique request, revision request and preference question of a principle.

    Raises:
        ConfigError: a template of the folder uses a variable that it is not given.
    """
    return {
        "critique": render("critique", templates, principle=principle),
        "revision": render("revision", templates, principle=principle),
        "preference": render(
            "choice",
            templates,
            conversation=CONVERSATION,
            answer_a=ANSWER_A,
            answer_b=ANSWER_B,
            principle=principle,
        ),
    }


def show_constitution(constitution: Constitution, templates: Path | None = None) -> dict[str, Any]:
    """A constitution as plain values: its settings, hash and principles, each with its requests."""
    total = sum(p.weight for p in constitution.principles)
    return {
        "name": constitution.name,
        "version": constitution.version,
        "description": constitution.description,
        "language": constitution.language,
        "hash": constitution.hash,
        "preface": constitution.preface,
        "examples": [asdict(e) for e in constitution.examples],
        "principles": [
            {
                **asdict(principle),
                "hash": principle.hash,
                "share_of_draws": principle.weight / total,
                "requests": requests_of(principle, templates),
            }
            for principle in constitution.principles
        ],
    }
