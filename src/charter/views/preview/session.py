"""``charter constitution preview``: start the model, show a preview, and show another after each save until Ctrl-C."""

import asyncio
import json
from contextlib import aclosing, closing
from pathlib import Path

import typer

from charter.config import Config
from charter.constitution.parse import load_constitution
from charter.core.text import plain
from charter.data.sources import load_prompts
from charter.inference.session import Session
from charter.pipeline.roles import serve_temporarily
from charter.pipeline.rows import Progress
from charter.report.terminal import open_console
from charter.views.preview.page import RELOAD_S, check_page, render_preview, write_page
from charter.views.preview.preview import Preview, previews
from charter.views.preview.text import print_preview


def show_previews(path: Path, config: Config, html: Path | None, as_json: bool, watch: bool) -> None:
    """Show the preview of a constitution; when watching, another for each save, until Ctrl-C.

    Args:
        path: the constitution.
        config: its prompts, model, serving, generation, seed and store are used.
        html: where to write a page too.
        as_json: print JSON instead of text; on one line each when watching.
        watch: whether to go on.

    Raises:
        CharterError: something named cannot be used, and what to do; what costs nothing is checked first.
        KeyboardInterrupt: Ctrl-C, except when watching, where it is the way to end.
    """
    if html is not None:
        check_page(html)
    with closing(_Output(path, html, as_json, watch)) as output:
        try:
            asyncio.run(_run_previews(path, config, output, watch))
        except KeyboardInterrupt:
            if not watch:
                raise
            _print_error(f"Stopped watching {path}.")


async def _run_previews(path: Path, config: Config, output: "_Output", watch: bool) -> None:
    # Whatever can be wrong without a model is found before one is started.
    load_constitution(path)
    loaded = load_prompts(config.prompts, config.seed)
    if loaded.rejects:
        first = loaded.rejects[0]
        _print_error(
            f"prompts '{config.prompts.source}': {len(loaded.rejects)} of {loaded.read} rows are left out; "
            f"the first: {first.reason}, {first.detail}"
        )
    rows = [prompt.row() for prompt in loaded.prompts]
    with serve_temporarily(config, _print_error, ["base"]) as models:
        # Closed before the servers end, so that no call is left in flight.
        async with aclosing(previews(path, rows, Session(), models["base"], config, output.report)) as versions:
            async for preview in versions:
                output.show(preview)
                if not watch:
                    return


class _Output:
    """Writes previews to the terminal, and to a page if one is wanted."""

    def __init__(self, path: Path, html: Path | None, as_json: bool, watch: bool) -> None:
        self._path, self._html, self._as_json, self._watch = path, html, as_json, watch
        self._status = open_console(stderr=True).status("")
        self._last: Preview | None = None

    def report(self, progress: Progress) -> None:
        """Show the progress on a terminal; the next preview replaces it."""
        self._status.update(f"{progress.stage}: {progress.done} of {progress.total} prompts")
        # Starting a status that runs already does nothing.
        self._status.start()

    def show(self, now: Preview) -> None:
        """Show a preview; from the second on, only what differs from the one before."""
        self._status.stop()
        if self._as_json:
            typer.echo(json.dumps(plain(now.to_dict()), ensure_ascii=False, indent=None if self._watch else 2))
        else:
            # Not after every save: only when the problems have changed.
            if now.broken or self._last is None or now.problems != self._last.problems:
                for problem in now.problems:
                    _print_error(f"{problem} [{problem.severity}: {problem.code}]")
            if now.broken:
                _print_error(f"{self._path} is broken; the preview before it stays.")
            else:
                print_preview(now, open_console(), self._last)
        if self._html:
            write_page(self._html, render_preview(now, RELOAD_S if self._watch else None))
        if self._watch and self._last is None:
            _print_error(f"Watching {self._path}. Save it to see what changes; Ctrl-C ends.")
        self._last = now

    def close(self) -> None:
        """Leave a page that no longer reloads itself."""
        self._status.stop()
        if self._html and self._watch and self._last:
            write_page(self._html, render_preview(self._last))


def _print_error(line: str) -> None:
    typer.echo(line, err=True)
