"""Labels that say what they mean: a judge's p, mended by the curve that its audit fitted."""

import json
from collections.abc import Sequence

from charter.config import Judge
from charter.constitution import Principle
from charter.core.errors import ConfigError
from charter.core.messages import Messages
from charter.pipeline.judges.calibration import Isotonic, Temperature, curve_of
from charter.pipeline.judges.kinds import judge_of
from charter.pipeline.judges.protocol import Compare, Judgement, inside
from charter.pipeline.rows import Context


def labeller_of(settings: Judge) -> Compare:
    """The configured judge as it labels: as `judge_of` gives it, and calibrated if `settings.calibration` says so.

    What its principles, orders and members said stays as it was read, and an audit asks the judge without this.

    Raises:
        ConstitutionError: a member's constitution cannot be read.
        ConfigError: `settings.audit` holds no such curve.
    """
    compare, curve = judge_of(settings), read_curve(settings)
    if curve is None:
        return compare

    async def mended(
        prompt: Messages, first: str, last: str, principles: Sequence[Principle], context: Context, /
    ) -> Judgement:
        made = await compare(prompt, first, last, principles, context)
        return made._replace(p=inside(float(curve([made.p])[0])))

    return mended


def read_curve(settings: Judge) -> Temperature | Isotonic | None:
    """The curve that the settings name; None where they name none.

    Raises:
        ConfigError: the audit cannot be read, or had too few pairs for a curve.
    """
    if settings.calibration is None or settings.audit is None:
        return None
    named = f"judge.audit '{settings.audit}'"
    try:
        curve = curve_of(json.loads(settings.audit.read_text(encoding="utf-8")), settings.calibration)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(f"{named}: is no audit.json of `charter judge audit`. Run that, or change it.") from error
    if curve is None:
        raise ConfigError(
            f"{named}: had too few pairs to fit a curve to half of them. Audit the judge on more pairs, or leave "
            "judge.calibration out."
        )
    return curve
