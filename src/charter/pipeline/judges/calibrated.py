"""Calibrated labels: a judge's p, corrected by the curve that its audit fitted."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from charter.config import Judge
from charter.constitution import Principle
from charter.core.errors import ConfigError
from charter.core.messages import Messages
from charter.pipeline.judges.calibration import Isotonic, Temperature, curve_of
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.judges.protocol import Compare, Judgement, clip_probability
from charter.pipeline.rows import StageContext


class Judges(NamedTuple):
    """The configured judge, as it answers and as it labels.

    Attributes:
        compare: the judge itself, as audits and rankings ask it.
        label: the same, with p calibrated if the settings ask for it; its parts by principle, order and member are
            not calibrated.
    """

    compare: Compare
    label: Compare


def configured_judges(settings: Judge) -> Judges:
    """The configured judge.

    Raises:
        ConstitutionError: a member's constitution cannot be read.
        ConfigError: `settings.audit` holds no such curve.
    """
    compare, curve = judge_of(settings), read_curve(settings)
    if curve is None:
        return Judges(compare, compare)

    async def calibrated(
        prompt: Messages, first: str, last: str, principles: Sequence[Principle], context: StageContext, /
    ) -> Judgement:
        judgement = await compare(prompt, first, last, principles, context)
        return judgement._replace(p=clip_probability(float(curve([judgement.p])[0])))

    return Judges(compare, calibrated)


def read_curve(settings: Judge) -> Temperature | Isotonic | None:
    """The curve that the settings name; None if they name none.

    Raises:
        ConfigError: the audit cannot be read, or had too few pairs for a curve.
    """
    if settings.calibration is None or settings.audit is None:
        return None
    subject = f"judge.audit '{settings.audit}'"
    try:
        curve = curve_of(json.loads(settings.audit.read_text(encoding="utf-8")), settings.calibration)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{subject}: is no audit.json of `charter judge audit`. Run that, or change it.") from error
    if curve is None:
        raise ConfigError(
            f"{subject}: had too few pairs to fit a curve to half of them. Audit the judge on more pairs, or leave "
            "judge.calibration out."
        )
    return curve
