"""Prompt templates are the files in this folder; this module fills them in.

What a template is given is data: it is never read as template source, so braces in a prompt or
an answer stay what they are, and a tag of the template in them, such as ``</answer_a>``, is broken
up, so that it closes nothing. A variable that a template needs and does not get is an error.
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateNotFound,
    UndefinedError,
)

from charter.core.errors import ConfigError
from charter.core.messages import BREAK

FOLDER = Path(__file__).parent


def render(name: str, folder: Path | None = None, /, **variables: object) -> str:
    """Fill in the template `name`, taken from `folder` when it holds one, else from the shipped ones.

    Raises:
        ConfigError: no such template, or it uses a variable it is not given.
    """
    try:
        template = _environment(folder).get_template(f"{name}.md.j2")
        tag = _tag(template)
        if tag:  # a zero-width space, so that a tag in a value closes nothing
            variables = {k: tag.sub(rf"\g<0>{BREAK}", v) if isinstance(v, str) else v for k, v in variables.items()}
        return template.render(variables).strip()
    except TemplateNotFound as error:
        raise ConfigError(f"template '{name}': no file {name}.md.j2 in {folder or FOLDER}.") from error
    except UndefinedError as error:
        raise ConfigError(f"template '{name}': {error}. Use only the variables of the shipped {name}.md.j2.") from error


def template_hash(name: str, folder: Path | None = None) -> str:
    """Sixteen digits for the words of a template, wherever it was taken from.

    Raises:
        ConfigError: no such template.
    """
    # The user's template comes first, as in `render`.
    files = [
        path for path in (folder and folder / f"{name}.md.j2", FOLDER / f"{name}.md.j2") if path and path.is_file()
    ]
    if not files:
        raise ConfigError(f"template '{name}': no file {name}.md.j2 in {folder or FOLDER}.")
    return hashlib.sha256(files[0].read_bytes()).hexdigest()[:16]


@lru_cache(maxsize=64)
def _tag(template: Template) -> re.Pattern[str] | None:
    """Finds where a tag of the template begins, or seems to; None if it has no tags."""
    # By the closing tags of the template's source: what the variables hold is not looked at.
    names = sorted(set(re.findall(r"</(\w+)>", Path(str(template.filename)).read_text(encoding="utf-8"))))
    return re.compile(rf"<(?=\s*/?\s*(?:{'|'.join(names)})\b)", re.IGNORECASE) if names else None


@lru_cache(maxsize=16)
def _environment(folder: Path | None) -> Environment:
    folders = [FileSystemLoader(f) for f in (folder, FOLDER) if f is not None]
    return Environment(  # plain text for a model, not HTML: escaping would change the words
        loader=ChoiceLoader(folders), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
