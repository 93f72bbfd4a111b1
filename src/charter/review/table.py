"""The sample as people read it: a table in Markdown."""

from collections.abc import Sequence

from charter.core.messages import prompt_text
from charter.core.text import cut_inline, inline
from charter.review.sample import Shown

COLUMNS = ("request", "chosen", "rejected", "p", "why", "id", "kind", "principles")
"""What is judged comes first: a screen is seldom wide enough for all of them."""

HOW_TO_READ = (  # in one line, because the Prefect UI breaks at the end of every line
    "The judge prefers the answer under *chosen*; *p* is its probability that this is right. Pairs are here at random "
    "(*random*), because the judge is least sure of them (*uncertain*), or because the members of its panel contradict "
    "each other (*split*). A split pair is trained on only if it is named: in *keep* as it is shown, in *flip* the "
    "other way around. Any other pair is trained on as it is shown unless it is named: in *drop* it is left out, in "
    "*flip* its answers change places. Pairs that are not shown here can be named as well."
)


def sample_markdown(run: str, about: str, sample: Sequence[Shown], pairs: int, splits: int) -> str:
    """The table, with how to read it. Texts stay text, whatever they hold; `charter explain` shows long ones whole."""
    of = f"{pairs:,} pairs" + (f" and {splits:,} on which the panel split" if splits else "")
    lines = [f"# Labels of run {inline(run)}", "", f"{len(sample):,} of {of}. Data `{about}`.", "", HOW_TO_READ, ""]
    lines += [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for shown in sample:
        pair = shown.pair
        members = zip(pair["members"] or (), pair["p_by_member"] or (), strict=True)
        # A split has no label, only what each member says.
        odds = [] if shown.why == "split" else [f"{pair['p_chosen']:.2f}"]
        odds += [f"{inline(name)} {p:.2f}" for name, p in members]
        cells = [cut_inline(text) for text in (prompt_text(pair["prompt"]), pair["chosen"], pair["rejected"])]
        cells += [", ".join(odds), shown.why, f"`{pair['pair_id']}`"]
        cells += [inline(pair["kind"] or ""), inline(", ".join(pair["principle_ids"]))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
