"""Watch a folder of constitutions, and tell Prefect when one was saved with different words."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from watchfiles import awatch

from charter.core.errors import CharterError
from flows.notify import News, look, tell

Survey = Mapping[Path, News]
"""What is known of each file."""

_LOOK_MS = 5000
"""How long until it looks by itself, where the file system gives no notice or an event could not be sent."""

_SETTLED_S = 0.3
"""How long files must stand still: editors write in steps."""


async def watch(folder: Path) -> None:
    """Tell of every change from now on. All files are looked at each time, since one may extend another."""
    known = _survey(folder, {})
    async for _ in awatch(folder, rust_timeout=_LOOK_MS, yield_on_timeout=True):
        if (now := _survey(folder, known)) != known:
            known = await _tell_changes(known, await _settled(folder, known, now))


async def _settled(folder: Path, known: Survey, now: Survey) -> Survey:
    before: Survey = {}
    while now != before:
        await asyncio.sleep(_SETTLED_S)
        before, now = now, _survey(folder, known)
    return now


def _survey(folder: Path, known: Survey) -> Survey:
    """All files as they are now; one that is broken keeps the hash that it had when it was not."""
    now = {path: look(path) for path in sorted(folder.glob("**/*.md"))}
    return {
        path: replace(news, hash=known[path].hash) if news.mistakes and path in known else news
        for path, news in now.items()
    }


async def _tell_changes(known: Survey, now: Survey) -> Survey:
    """What is known afterwards: `now`, or what was `known` if no server took the event."""
    changed = [news for path, news in now.items() if _differs(known.get(path), news)]
    if not changed:
        return now
    try:
        await tell(changed)
    except CharterError as error:
        sys.stderr.write(f"{error}\n")
        return known
    sys.stdout.write("".join(f"{news}\n" for news in changed))
    sys.stdout.flush()
    return now


def _differs(before: News | None, now: News) -> bool:
    """Whether a model would read something different, or the mistakes differ; comments do not count."""
    if before is None:
        return True
    return now.mistakes != before.mistakes if now.mistakes else now.hash != before.hash
