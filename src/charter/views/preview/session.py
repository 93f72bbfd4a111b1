"""A preview at work: what it needs is brought up, shown, and shown again after each save until Ctrl-C."""

import asyncio
import json
from contextlib import aclosing, closing
from pathlib import Path

import typer

from charter.config import Config
from charter.constitution.parse import load_constitution
from charter.core.text import plain
from charter.data.sources import load_prompts
from charter.inference.engine import open_engine
from charter.pipeline.roles import serve_for_a_moment
from charter.pipeline.rows import Progress, Row
from charter.report.terminal import open_console
from charter.views.preview.page import RELOAD_S, check_page, render_page, write_page
from charter.views.preview.rows import Preview, previews
from charter.views.preview.screen import print_preview


def show_previews(path: Path, config: Config, html: Path | None, as_json: bool, watch: bool) -> None:
    """Show the preview of a constitution; when watching, one more for each save, until Ctrl-C.

    Args:
        path: the constitution.
        config: its prompts, model, serving, generation, seed and store count.
        html: where to write a page too.
        as_json: print JSON rather than text; on one line each when watching.
        watch: whether to go on.

    Raises:
        CharterError: something named cannot be used, and what to do; what costs nothing is checked first.
        KeyboardInterrupt: Ctrl-C, but not when watching, where it is the way to end.
    """
    if html is not None:
        check_page(html)
    with closing(_Output(path, html, as_json, watch)) as output:
        try:
            asyncio.run(_preview(path, config, output, watch))
        except KeyboardInterrupt:
            if not watch:
                raise
            _say(f"Stopped watching {path}.")


class _Output:
    """Where previews go: to the screen, and to the page if there is to be one."""

    def __init__(self, path: Path, html: Path | None, as_json: bool, watch: bool) -> None:
        self._path, self._html, self._as_json, self._watch = path, html, as_json, watch
        self._status = open_console(stderr=True).status("")
        self._last: Preview | None = None

    def tell(self, progress: Progress) -> None:
        """Say how far it is; on a terminal only, and gone when the preview comes."""
        self._status.update(f"{progress.stage}: {progress.done} of {progress.total} prompts")
        self._status.start()

    def show(self, now: Preview) -> None:
        """Show a preview; from the second on, only what is other than before."""
        self._status.stop()
        if self._as_json:
            values = plain(now.to_dict())
            typer.echo(json.dumps(values, ensure_ascii=False, indent=None if self._watch else 2))
        else:
            self._print(now)
        if self._html:
            write_page(self._html, render_page(now, RELOAD_S if self._watch else None))
        if self._watch and self._last is None:
            _say(f"Watching {self._path}. Save it to see what changes; Ctrl-C ends.")
        self._last = now

    def close(self) -> None:
        """Leave a page behind that does not wait for another."""
        self._status.stop()
        if self._html and self._watch and self._last:
            write_page(self._html, render_page(self._last))

    def _print(self, now: Preview) -> None:
        if now.broken or self._last is None or now.problems != self._last.problems:
            for problem in now.problems:
                _say(f"{problem} [{problem.severity}: {problem.code}]")
        if now.broken:
            _say(f"{self._path} is broken as it stands; the preview before it stays.")
        else:
            print_preview(now, open_console(), self._last)


async def _preview(path: Path, config: Config, output: _Output, watch: bool) -> None:
    """Check what costs nothing, bring up the model, and show one preview, or one more for each save."""
    load_constitution(path)
    rows = _prompts(config)
    with serve_for_a_moment(config, _say, ["base"]) as models:
        spec = models["base"]
        async with (
            open_engine(spec) as engine,
            aclosing(previews(path, rows, engine, spec.identity, config, output.tell)) as made,
        ):
            async for preview in made:
                output.show(preview)
                if not watch:
                    return


def _prompts(config: Config) -> list[Row]:
    loaded = load_prompts(config.prompts, config.seed)
    if loaded.rejects:
        first = loaded.rejects[0]
        _say(
            f"prompts '{config.prompts.source}': {len(loaded.rejects)} of {loaded.read} rows are left out; "
            f"the first: {first.reason}, {first.detail}"
        )
    return [prompt.row() for prompt in loaded.prompts]


def _say(line: str) -> None:
    typer.echo(line, err=True)
