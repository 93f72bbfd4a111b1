"""What the report shows of what training changed, token by token: drawn by lot from a run's folder.

A look that fails costs a run nothing but this part of its report, which then says why.
"""

import shutil
from pathlib import Path

from charter.config import Config
from charter.core.errors import TrainingError
from charter.core.sampling import draw
from charter.data.shards import count_rows, read_rows
from charter.evaluation.answers import load_answers
from charter.evaluation.records import Graded
from charter.inference.identity import model_identity
from charter.pipeline.roles import model_folder
from charter.training.job import CONFIG, Job, read_job
from charter.training.token_rewards import FOLDER, Heat, write_heat
from charter.training.tokens import HELD_OUT, Answer, Pair, Request, look

_COLUMNS = ("pair_id", "prompt", "chosen", "rejected", "kind", "p_chosen")
_SPARE = 2  # some of those drawn may be too long


def look_at_tokens(config: Config, model: Path, name: str = "") -> Heat | None:
    """See what the last training step changed, and keep it under ``tokens/``; None where the config leaves it out.

    Args:
        config: of the run.
        model: the folder of the trained model, whose ``training.yaml`` says what it was trained from and held to.
        name: the one that it was evaluated under; the folder's if not given.

    Raises:
        ModelError: one of the models cannot be found.
    """
    folder = config.run_folder / FOLDER
    if not config.tokens.pairs:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    try:
        job = read_job(model / CONFIG)
    except TrainingError as error:
        unread = Heat("", name or model.name, model_identity(model), "", 0.0, problem=str(error))
        write_heat(folder, unread)
        return unread
    request = ask_for(config, model, name or model.name, job)
    try:
        return look(request, folder)
    except TrainingError as error:
        (name, reference, _), (identity, *_) = request.names, request.identities
        failed = Heat(request.key, name, identity, reference, request.beta, problem=str(error))
        write_heat(folder, failed)
        return failed


def ask_for(config: Config, model: Path, name: str, job: Job) -> Request:
    """What to look at: pairs of `job`, which trained `model`, and answers to held-out requests, each drawn by lot.

    Where `job` learnt from no pairs, they are the run's; where nothing held it to its reference, β is 1.
    """
    run, base = config.run_folder, model_folder(config.model)
    identities = model_identity(model), model_identity(job.model), model_identity(base)
    answers = _answers(run, name)
    others = _answered_differently(_answers(run, "base"), answers)
    benign = {key: row for key, row in answers.items() if row.category == "benign"}
    source = job.data if job.step == "dpo" else run / "pairs"
    pairs = _pairs(source, config.tokens.pairs, config.seed)
    return Request(
        model=str(model.resolve()),
        reference=job.model,
        base=base,
        names=(name, "base" if identities[1] == identities[2] else Path(job.model).name, "base"),
        identities=identities,
        beta=getattr(job.optimisation, "beta", 0.0) or 1.0,
        max_length=config.training.dpo.max_length,
        pairs=[*pairs, *(others[key] for key in draw(others, HELD_OUT + _SPARE, config.seed))],
        answers=[
            Answer(_asked(benign[key]), benign[key].response)
            for key in draw(benign, config.tokens.answers, config.seed)
        ],
        drawn_from={"training": count_rows(source) if pairs else 0, "held-out": len(others)},
    )


def _answers(run: Path, model: str) -> dict[str, Graded]:
    """Whole answers of one model to the held-out requests, by request."""
    path = run / "answers" / f"{model}.parquet"
    rows = load_answers(path) if path.is_file() else []
    return {row.request_id: row for row in rows if row.finish_reason == "stop" and row.response.strip()}


def _answered_differently(base: dict[str, Graded], trained: dict[str, Graded]) -> dict[str, Pair]:
    """Held-out harmful requests to which the trained model says something else than the base."""
    return {
        key: Pair(_asked(row), row.response, base[key].response, "held-out", row.kind)
        for key, row in trained.items()
        if row.category == "harmful" and key in base and row.response != base[key].response
    }


def _asked(row: Graded) -> list[dict[str, str]]:
    return [{"role": "user", "content": row.prompt}]


def _pairs(source: Path, n: int, seed: int) -> list[Pair]:
    """Training pairs, in the order of the lot; only those drawn are held in memory. None where nothing was paired."""
    if source.is_dir() and not any(source.glob("*.parquet")):
        return []
    drawn = draw((row["pair_id"] for row in read_rows(source, ["pair_id"])), n, seed)
    wanted = set(drawn)
    found = {row["pair_id"]: row for row in read_rows(source, _COLUMNS) if row["pair_id"] in wanted}
    return [
        Pair(row["prompt"], row["chosen"], row["rejected"], "training", row["kind"], row["p_chosen"])
        for row in map(found.__getitem__, drawn)
    ]
