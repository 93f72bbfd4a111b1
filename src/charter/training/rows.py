"""From Parquet rows to token ids; rows that cannot be trained on are left out, counted and kept with their reason.

Nothing is ever truncated: a completion without its end teaches a model not to stop. Rows are tokenised here,
once, in the same way for all steps, so that what TRL receives has been checked.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jinja2.exceptions import TemplateError

from charter.config.training import Optimisation
from charter.core.errors import DataError, TrainingError
from charter.core.messages import Message, fold_system

_COLUMNS = {
    "sft": ("completion",),
    "dpo": ("chosen", "rejected"),
    "reward": ("chosen", "rejected"),
    "grpo": ("first", "drawn"),
}
"""The columns that each step reads besides ``row_id`` and ``prompt``."""


class Dropped(NamedTuple):
    """One row that is not trained on, as a row of ``failures``."""

    row_id: str
    reason: str
    detail: str


@dataclass
class Rows:
    """Token ids to train on, in the order of the data, and the rows left out.

    `altered` are rows that are trained on although decoding their tokens gives other text.
    """

    kept: list[dict[str, Any]] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    altered: list[Dropped] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows were left out, by reason."""
        return dict(Counter(row.reason for row in self.dropped))


class UntrainableRow(Exception):
    """A row that cannot be trained on, with the reason."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def read_training_table(data: Path, step: str, soft_labels: bool) -> pa.Table:
    """Read the columns a step trains on, from one Parquet file or a folder of shards in the order of their names.

    Raises:
        DataError: no file, no rows, or a column is missing.
    """
    files = sorted(data.glob("*.parquet")) if data.is_dir() else [data]
    if not files or not all(path.is_file() for path in files):
        raise DataError(f"training data '{data}': no such file, or a folder without *.parquet. Name one that exists.")
    columns = ["row_id", "prompt", *_COLUMNS[step], *(["p_chosen"] if soft_labels else [])]
    present = pq.read_schema(files[0]).names
    missing = [name for name in columns if name not in present]
    if missing:
        hint = f" Or set training.{step}.soft_labels: false." if missing == ["p_chosen"] else ""
        raise DataError(
            f"training data '{data}': lacks the column(s) {', '.join(missing)}; it has {', '.join(present)}."
            f" Training step '{step}' needs {', '.join(columns)}.{hint}"
        )
    table = pa.concat_tables([pq.read_table(path, columns=columns) for path in files], promote_options="permissive")
    if table.num_rows == 0:
        raise DataError(f"training data '{data}': has no rows. See failures/ for the reasons.")
    return table.replace_schema_metadata(None)


def rows_to_train_on(data: Path, step: str, section: Optimisation) -> tuple[pa.Table, list[Dropped]]:
    """The table for the settings of a step, and the pairs under its `min_p`, which are left out.

    Raises:
        DataError: as for `read_training_table`; or all pairs are under `min_p`.
    """
    soft, least = bool(getattr(section, "soft_labels", False)), float(getattr(section, "min_p", 0.5))
    table = read_training_table(data, step, soft or least > 0.5)
    if least == 0.5:
        return table, []
    sure = pc.fill_null(pc.greater_equal(table["p_chosen"], least), False)
    unsure = table.filter(pc.invert(sure)).select(["row_id", "p_chosen"]).to_pylist()
    if len(unsure) == table.num_rows:
        raise DataError(
            f"training data '{data}': the judge is less sure of every pair than training.{step}.min_p {least:g}. "
            "Lower it."
        )
    dropped = [
        Dropped(row["row_id"], "under-min-p", f"p_chosen is {row['p_chosen']}, under {least:g}") for row in unsure
    ]
    kept = table.filter(sure)
    return kept if soft else kept.drop_columns(["p_chosen"]), dropped


def over_share(data: Path, share: float) -> list[Dropped]:
    """Random rows to leave out, so that at most `share` of the rest are answers that needed no revision.

    SFT learns from such answers too, as they keep a model helpful.

    Args:
        data: a Parquet file of ``sft_data``, or a folder of them.
        share: 0 keeps revisions only; 1 leaves nothing out.

    Raises:
        DataError: the data does not say which rows are revisions, or has no revisions.
    """
    if share == 1:
        return []
    files = sorted(data.glob("*.parquet")) if data.is_dir() else [data]
    if any("source" not in pq.read_schema(path).names for path in files):
        raise DataError(
            f"training data '{data}': has no column source, which tells revisions from other answers. Leave"
            " training.sft.helpful_share out."
        )
    rows = [row for path in files for row in pq.read_table(path, columns=["row_id", "source"]).to_pylist()]
    helpful = [row["row_id"] for row in rows if row["source"] == "response"]
    # Ordered by a hash of the id, so that the choice is random and yet the same for any order of the rows.
    helpful.sort(key=lambda row_id: hashlib.sha256(row_id.encode()).digest())
    revised = len(rows) - len(helpful)
    if not revised:
        raise DataError(f"training data '{data}': has no revisions at all. Leave training.sft.helpful_share out.")
    most = int(revised * share / (1 - share) + 1e-9)
    return [Dropped(row_id, "helpful-share", f"over the {share:g} of helpful answers") for row_id in helpful[most:]]


def encode_rows(table: pa.Table, tokenizer: Any, end_ids: set[int], max_length: int, model: str) -> Rows:
    """Token ids per row, as TRL takes them.

    SFT rows get ``input_ids`` and ``labels``; pairs get ``prompt_ids``, ``chosen_ids`` and ``rejected_ids``; prompts of
    GRPO get ``prompt_ids``, and keep their columns.

    Args:
        table: as `read_training_table` gives it.
        tokenizer: a transformers tokenizer with a chat template.
        end_ids: the tokens that end a turn; a completion must hold exactly one of them.
        max_length: the most tokens a prompt and one completion may have together; of GRPO's, the prompt.
        model: named in errors.

    Raises:
        TrainingError: the model's chat template cannot be trained with, or no row is left.
    """
    if not tokenizer.chat_template:
        raise TrainingError(f"model '{model}': has no chat template. Add chat_template.jinja to its folder.")
    rows = Rows()
    encoder = _Encoder(tokenizer, end_ids, max_length)
    # Converted a thousand at a time: as Python objects rows take many times their memory.
    for row in (row for batch in table.to_batches(max_chunksize=1024) for row in batch.to_pylist()):
        try:
            rows.kept.append(encoder.encode(row))
        except UntrainableRow as error:
            rows.dropped.append(Dropped(row["row_id"], error.reason, error.detail))
        else:
            rows.altered += [Dropped(row["row_id"], "altered", detail) for detail in encoder.altered[:1]]
    if not rows.kept:
        advice = {"no-end-token": f"The chat template of '{model}' must end the assistant's turn with its end token."}
        advice["too-long"] = f"Raise max_length, now {max_length}."
        counts = ", ".join(f"{n} {reason}" for reason, n in rows.reasons.items())
        ways = [text for reason, text in advice.items() if reason in rows.reasons] or ["See dropped.parquet."]
        raise TrainingError(f"training data: no row of {table.num_rows} can be trained on ({counts}). {' '.join(ways)}")
    return rows


class _Encoder:
    def __init__(self, tokenizer: Any, end_ids: set[int], max_length: int) -> None:
        self._tokenizer = tokenizer
        self._end_ids = end_ids
        self._max_length = max_length
        # A token of white space only occurs in ordinary text.
        self._special = [token for token in tokenizer.all_special_tokens if token.strip()]
        self.altered: list[str] = []
        """How the last row's text differs from what its tokens say."""

    def encode(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of any step."""
        return self.pair(row) if "chosen" in row else self.completion(row) if "completion" in row else self.prompt(row)

    def prompt(self, row: dict[str, Any]) -> dict[str, Any]:
        """A prompt that the model is to answer."""
        ids, _ = self._encode(row["prompt"], [])
        return {**row, "prompt_ids": ids}

    def completion(self, row: dict[str, Any]) -> dict[str, Any]:
        """One SFT row; the prompt's tokens carry the label -100, so that only the completion is learnt."""
        prompt, (answer,) = self._encode(row["prompt"], [row["completion"]])
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}

    def pair(self, row: dict[str, Any]) -> dict[str, Any]:
        """One pair; the prompt is what the two renderings share, as TRL has it."""
        prompt, (chosen, rejected) = self._encode(row["prompt"], [row["chosen"], row["rejected"]])
        if chosen == rejected:
            raise UntrainableRow("identical", "chosen equals rejected")
        pair: dict[str, Any] = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
        if "p_chosen" in row:
            if row["p_chosen"] is None or not 0.5 < row["p_chosen"] <= 1.0:
                raise UntrainableRow("no-preference", f"p_chosen is {row['p_chosen']}, not over 1/2 and at most 1")
            pair["p_chosen"] = row["p_chosen"]
        return pair

    def _encode(self, prompt: list[Message], answers: list[str]) -> tuple[list[int], list[list[int]]]:
        for text in [*(turn["content"] for turn in prompt), *answers]:
            for token in self._special:
                if token in text:  # the tokenizer would read it as the real token: a forged turn
                    raise UntrainableRow("special-token-in-text", f"the text holds {token!r}")
        if not prompt or not all(answer.strip() for answer in answers):
            raise UntrainableRow("empty", "an empty prompt or answer")
        try:
            texts = self._render(prompt, answers)
        except TemplateError as error:
            # Templates such as Gemma's have no system role; the server that answered was sent the same.
            folded = fold_system(prompt)
            try:
                texts = self._render(folded, answers)
            except TemplateError:
                raise UntrainableRow("template", f"the chat template refuses the conversation: {error}") from error
        opening, *whole = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        # The prompt is the tokens that all renderings begin with: a template may end a bare prompt differently.
        columns = enumerate(zip(opening, *whole, strict=False))
        shortest = min(map(len, (opening, *whole)))
        shared = next((position for position, tokens in columns if len(set(tokens)) > 1), shortest)
        completions = []
        for ids in whole:
            ends = [position for position, token in enumerate(ids) if position >= shared and token in self._end_ids]
            if len(ends) != 1:
                reason = "several-end-tokens" if ends else "no-end-token"
                raise UntrainableRow(reason, f"{len(ends)} end-of-turn tokens in the completion, not 1")
            # Without what a template writes after the end token, such as a line break.
            completions.append(ids[shared : ends[0] + 1])
        self.altered = []
        if shared < len(opening):
            suffix = self._decode(opening[shared:])
            self.altered.append(
                f"the prompt that asks for an answer ends with {suffix[:60]!r}, which is not there before an answer"
            )
        for ids, answer in zip(completions, answers, strict=True):
            text = self._decode(ids[:-1])
            if text.strip() != answer.strip():  # templates may trim an answer
                self.altered.append(f"{answer[:60]!r} becomes {text[:60]!r}")
        longest = shared + max(map(len, completions), default=0)
        if longest > self._max_length:
            raise UntrainableRow("too-long", f"{longest} tokens, over max_length {self._max_length}")
        return opening[:shared], completions

    def _render(self, prompt: Sequence[Message], answers: Sequence[str]) -> list[str]:
        """The text of the prompt alone, and with each answer."""
        render = self._tokenizer.apply_chat_template
        texts = [render(prompt, tokenize=False, add_generation_prompt=True)]
        return texts + [render([*prompt, {"role": "assistant", "content": a}], tokenize=False) for a in answers]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))
