"""The sampling parameters that a model's authors recommend, from its ``generation_config.json``."""

import json
import logging
from pathlib import Path

from charter.config.generation import SamplingParameters
from charter.inference.identity import local_folder

logger = logging.getLogger(__name__)


def model_sampling(model: str | Path, revision: str = "main") -> SamplingParameters:
    """The parameters of a model whose files are on this machine; those without effect are left out.

    A temperature is not among them: `generation.temperature` is always set.
    """
    folder = local_folder(model, revision)
    path = folder / "generation_config.json" if folder else None
    if path is None or not path.is_file():
        return SamplingParameters()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        names = SamplingParameters.model_fields.keys() & found.keys()
        return SamplingParameters.model_validate({name: found[name] for name in names}).effective()
    except (OSError, ValueError, AttributeError) as error:
        logger.warning("model '%s': its generation_config.json cannot be used (%s); it is ignored", model, error)
        return SamplingParameters()
