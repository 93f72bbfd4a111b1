"""Seconds from saving a constitution to the new text on screen, on real vLLM and the sandbox's model.

    python benchmarks/preview_watch.py

Starts ``charter constitution preview --watch`` with a store of its own and saves the file five times with other words
in the principle that most prompts drew, then five times with other words in all of them (the worst case: everything
but the first answers is asked again). The clock stops when the preview's last line has come out of the command.
"""

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from charter.config import Prompts
from charter.constitution import Constitution, Principle, load_constitution, select
from charter.constitution.write import write_constitution
from charter.data.sources import load_prompts

ROOT = Path(__file__).parents[1]
PROMPTS, ROUNDS = 5, 4
WORDS = ("This is important.", "Keep to it.", "This matters much.", "Mind this rule.", "Always bear it in mind.")


def main() -> None:
    law = load_constitution(ROOT / "constitutions" / "harmless.md")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "law.md"
        path.write_text(write_constitution(law), encoding="utf-8")
        options = f"--config configs/demo.yaml --n {PROMPTS} --rounds {ROUNDS} --watch --store".split()
        start = [sys.executable, "-c", "from charter.cli.app import main; main()", "constitution", "preview", str(path)]
        command = [*start, *options, str(path.with_suffix(".sqlite"))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
            try:
                print(f"at first: {_end_of_preview(child)}")
                most = most_drawn(law)
                _measure("one principle reworded", child, path, law, lambda p: p.id == most)
                _measure("all principles reworded", child, path, law, lambda p: True)
            finally:
                child.send_signal(signal.SIGINT)


def most_drawn(law: Constitution) -> str:
    """The id of the principle that most of the prompts meet."""
    prompts = load_prompts(Prompts(source="sandbox", n=PROMPTS), seed=0).prompts
    drawn = [select(law, row.row_id, number, 0)[0].id for row in prompts for number in range(ROUNDS)]
    return Counter(drawn).most_common(1)[0][0]


def _measure(
    name: str, child: "subprocess.Popen[str]", path: Path, law: Constitution, chosen: Callable[[Principle], bool]
) -> None:
    seconds: list[float] = []
    for words in WORDS:
        said = [replace(p, text=f"{p.text} {words}") if chosen(p) else p for p in law.principles]
        text = write_constitution(replace(law, principles=tuple(said)))
        began = time.monotonic()
        path.write_text(text, encoding="utf-8")
        line = _end_of_preview(child)
        seconds.append(time.monotonic() - began)
        print(f"  {seconds[-1]:.2f} s: {line}")
    print(f"{name}, {len(WORDS)} saves: median {statistics.median(seconds):.2f} s, max {max(seconds):.2f} s")


def _end_of_preview(child: "subprocess.Popen[str]") -> str:
    for line in child.stdout:
        if "from the store" in line:
            return line.strip()
    raise SystemExit("the preview ended; its message stands above")


if __name__ == "__main__":
    main()
