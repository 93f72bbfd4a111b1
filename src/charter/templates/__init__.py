"""Prompt templates are the files in this folder; this module fills them in.

What a template is given is data: it is never read as template source, so braces in a prompt or
an answer stay what they are. A variable that a template needs and does not get is an error.
"""

from functools import lru_cache
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined, TemplateNotFound, UndefinedError

from charter.errors import ConfigError

FOLDER = Path(__file__).parent


def render(name: str, folder: Path | None = None, /, **variables: object) -> str:
    """Fill in the template `name`, taken from `folder` when it holds one, else from the shipped ones.

    Raises:
        ConfigError: no such template, or it uses a variable it is not given.
    """
    try:
        return _environment(folder).get_template(f"{name}.md.j2").render(**variables).strip()
    except TemplateNotFound as error:
        raise ConfigError(f"template '{name}': no file {name}.md.j2 in {folder or FOLDER}.") from error
    except UndefinedError as error:
        raise ConfigError(f"template '{name}': {error}. Use only the variables of the shipped {name}.md.j2.") from error


@lru_cache(maxsize=16)
def _environment(folder: Path | None) -> Environment:
    folders = [FileSystemLoader(f) for f in (folder, FOLDER) if f is not None]
    return Environment(  # plain text for a model, not HTML: escaping would change the words
        loader=ChoiceLoader(folders), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
