"""The Arrow schema of every Parquet file in a run's folder: one description of each column.

Each column's meaning is metadata of its field, and the schema's name and version are metadata of the schema, so a file
explains itself without the rest of its run.
"""

import pyarrow as pa

VERSION = "1"

MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string(), False), pa.field("content", pa.string(), False)]))
"""A conversation, as `charter.core.messages.Messages`."""


def _column(name: str, kind: pa.DataType, meaning: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable, metadata={"meaning": meaning})


def _schema(name: str, *columns: pa.Field) -> pa.Schema:
    return pa.schema(columns, metadata={"charter.schema": name, "charter.schema_version": VERSION})


_ROW = _column("row_id", pa.string(), "the prompt's id, the same in every file of the run")
_PAIR = _column("pair_id", pa.string(), "the pair's id: row_id/strategy/number")
_STRATEGY = _column("strategy", pa.string(), "how the two answers came to be a pair")
_PROMPT = _column(
    "prompt",
    MESSAGES,
    "the conversation up to and including the user's last turn; in prompts, the given answer after it",
)
_KIND = _column("kind", pa.string(), "the kind of prompt, where its source knows one", nullable=True)
_SEED = _column("seed", pa.int64(), "the seed sent with the request")
_MODEL = _column("model_identity", pa.string(), "content hash or hub revision of the weights that wrote the text")
_PROMPT_COLUMNS = (_ROW, _PROMPT, _KIND, _column("source", pa.string(), "the file or world the prompt came from"))
_COST = (
    _column(
        "finish_reason",
        pa.string(),
        "how the answer ended: stop; trimmed to its last sentence or shortened, because it was too long; given "
        "with the prompt",
    ),
    _column("prompt_tokens", pa.int32(), "tokens of the request"),
    _column("completion_tokens", pa.int32(), "tokens of the answer"),
)
_CONSTITUTION = (
    _column("constitution_name", pa.string(), "the constitution's name"),
    _column("constitution_version", pa.string(), "its version, as written in the file"),
    _column("constitution_hash", pa.string(), "hash of what it says, independent of comments and order"),
)
_MEMBERS = (
    _column("members", pa.list_(pa.string()), "the members of a panel; empty where one judge judged", nullable=True),
    _column("p_by_member", pa.list_(pa.float64()), "p of each of them, of the same answer as p", nullable=True),
)
_JUDGE = _column("judge_identity", pa.string(), "content hash or hub revision of the judge")
_LABEL = (
    _column("p_chosen", pa.float64(), "the judge's probability that the chosen answer is better, over 1/2 and under 1"),
    _column("p_spread", pa.float64(), "standard deviation of the judge's single readings, or of its members' p"),
    _column("principle_ids", pa.list_(pa.string()), "the principles that judged, in order; MEMBER/ID is of a member"),
    _column("principle_hashes", pa.list_(pa.string()), "hash of what each of them sends to the model"),
    _column("p_by_principle", pa.list_(pa.float64()), "p of chosen under each of them, averaged over both orders"),
    _column("p_by_order", pa.list_(pa.float64()), "p of chosen shown first and shown second, averaged over principles"),
    *_MEMBERS,
    *_CONSTITUTION,
    _column("judge_kind", pa.string(), "how it was judged: choice, reasoned, score, critic, panel; or people"),
    _JUDGE,
)

PROMPTS = _schema("prompts", *_PROMPT_COLUMNS)

RESPONSES = _schema(
    "responses",
    *_PROMPT_COLUMNS,
    _column("response", pa.string(), "the model's first answer"),
    *_COST,
    _SEED,
    _MODEL,
)

SAMPLES = _schema(  # one row per row_id and sample
    "samples",
    _ROW,
    _column("sample", pa.int32(), "which answer to the prompt, from 1; the first, 0, is in responses"),
    _column("response", pa.string(), "the answer"),
    *_COST,
    _SEED,
    _MODEL,
)

REVISIONS = _schema(  # one row per row_id and round
    "revisions",
    _ROW,
    _column("round", pa.int32(), "the round of critique and revision, from 0"),
    _column(
        "principle_id", pa.string(), "the principle drawn for this round; a plus joins those asked about in one request"
    ),
    _column("principle_hash", pa.string(), "hash of what that principle sends to the model"),
    *_CONSTITUTION,
    _column("response", pa.string(), "the answer before this round"),
    _column("critique", pa.string(), "the critique under the principle"),
    _column("flagged", pa.bool_(), "whether the critique found the principle violated"),
    _column(
        "p_violated",
        pa.float64(),
        "the probability of that, where the critique gave no verdict and was asked; empty where its text says it",
        nullable=True,
    ),
    _column("revision", pa.string(), "the answer after this round"),
    _column("changed", pa.bool_(), "whether this round changed the answer"),
    _column(
        "finish_reason",
        pa.string(),
        "how the revision ended: stop, trimmed or shortened; empty without a revision",
        nullable=True,
    ),
    _column("preamble", pa.string(), "what was taken off before the revision; empty if nothing was", nullable=True),
    _SEED,
    _MODEL,
)

PAIRS = _schema(  # one row or more per row_id
    "pairs",
    _ROW,
    _PAIR,
    _PROMPT,
    _KIND,
    _column("chosen", pa.string(), "the answer that fits the constitution better"),
    _column("rejected", pa.string(), "the other answer"),
    _STRATEGY,
    *_LABEL,
    _MODEL,
    _SEED,
)

REVIEW = _schema(  # on what a panel split, for people to decide; not trained on before they have
    "review",
    _ROW,
    _PAIR,
    _STRATEGY,
    _PROMPT,
    _KIND,
    _column("first", pa.string(), "one answer"),
    _column("last", pa.string(), "the other answer"),
    _column("p_last", pa.float64(), "p of the last answer by all members together: the label, had they not split"),
    *(column.with_nullable(False) for column in _MEMBERS),  # p of the last answer
    _column("principle_ids", pa.list_(pa.string()), "the principles of all members, in order; MEMBER/ID is one's own"),
    _column("principle_hashes", pa.list_(pa.string()), "hash of what each of them sends to the model"),
    _column("p_by_principle", pa.list_(pa.float64()), "p of the last answer under each of them, over both orders"),
    *_CONSTITUTION,
    _MODEL,
    _JUDGE,
    _SEED,
)

FAILURES = _schema(
    "failures",
    _ROW,
    _column(
        "pair_id",
        pa.string(),
        "the lost pair, or answer for one; empty for a row as a whole",
        nullable=True,
    ),
    _column("stage", pa.string(), "the stage at which the row was lost"),
    _column("reason", pa.string(), "short and countable, the same for every row that fails alike"),
    _column("detail", pa.string(), "what exactly happened to this row"),
    _column("principle_ids", pa.list_(pa.string()), "the principles it was lost under, if under any", nullable=True),
)

SFT_DATA = _schema(
    "sft_data",
    _ROW,
    _PROMPT,
    _column("completion", pa.string(), "the answer to learn"),
    _KIND,
    _column("source", pa.string(), "'revision' or 'response'"),
    *(column.with_nullable(True) for column in _LABEL),  # empty where no critique found a fault: no judge was asked
)

RL_PROMPTS = _schema(  # the prompts that GRPO has answered, which make no pairs then
    "rl_prompts",
    _ROW,
    _PROMPT,
    _column("first", pa.string(), "the model's first answer, which others are held against"),
    _column("drawn", pa.list_(pa.string()), "the principles under which that answer was revised"),
)

LABEL = tuple(column.name for column in _LABEL)
"""The columns of a label: in ``pairs``, and in ``sft_data`` where a judge chose the answer."""

SCHEMAS = {"prompts": PROMPTS, "responses": RESPONSES, "revisions": REVISIONS, "samples": SAMPLES, "pairs": PAIRS}
SCHEMAS |= {"review": REVIEW, "failures": FAILURES, "sft_data": SFT_DATA, "rl_prompts": RL_PROMPTS}
"""Each schema by the name of the folder it is kept in."""
