"""The report's section on what training changed, token by token: rows drawn at random from a run's folder.

If it fails, the run goes on, and this section gives the reason.
"""

import shutil
import threading
from pathlib import Path

from charter.config import Config
from charter.core.errors import TrainingError
from charter.core.sampling import draw
from charter.data.shards import count_rows, read_rows
from charter.evaluation.records import Graded, load_answers
from charter.inference.identity import model_identity
from charter.pipeline.roles import start_model
from charter.training.job import CONFIG, Job, read_job
from charter.training.token_rewards import (
    FOLDER,
    HELD_OUT,
    TokenAnswer,
    TokenPair,
    TokenReport,
    TokenRequest,
    measure_tokens,
    write_token_report,
)

_COLUMNS = ("pair_id", "prompt", "chosen", "rejected", "kind", "p_chosen")
_SPARE = 2  # some of the pairs drawn may be too long to score


def report_token_rewards(
    config: Config, model: Path, name: str = "", stop: threading.Event | None = None
) -> TokenReport | None:
    """Measure what the last training step changed, and keep the result under ``tokens/``. None if `tokens.pairs` is 0.

    Blocks until the measurement ends.

    Args:
        config: of the run.
        model: the folder of the trained model, whose ``training.yaml`` names the model it was trained from.
        name: the name under which it was evaluated; the folder's if not given.
        stop: another thread sets it to end early.

    Raises:
        ModelError: one of the models does not exist.
        Interrupted: `stop` was set.
    """
    folder, name = config.run_folder / FOLDER, name or model.name
    if not config.tokens.pairs:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    try:
        job = read_job(model / CONFIG)
    except TrainingError as error:
        report = TokenReport("", name, model_identity(model), "", 0.0, problem=str(error))
        write_token_report(folder, report)
        return report
    request = make_request(config, model, name, job)
    try:
        return measure_tokens(request, folder, stop)
    except TrainingError as error:
        (_, reference, _), (identity, *_) = request.names, request.identities
        report = TokenReport(request.key, name, identity, reference, request.beta, problem=str(error))
        write_token_report(folder, report)
        return report


def make_request(config: Config, model: Path, name: str, job: Job) -> TokenRequest:
    """What to measure: random pairs of `job`, which trained `model`, and random answers to held-out requests.

    If `job` was not trained on pairs, the run's pairs are used; if its loss had no β, β is 1.
    """
    run, base = config.run_folder, start_model(config)
    identities = model_identity(model), model_identity(job.model), model_identity(base)
    answers, base_answers = _complete_answers(run, name), _complete_answers(run, "base")
    # Held-out harmful requests that the trained model answers differently from the base.
    changed = {
        key: TokenPair(_prompt(row), row.response, base_answers[key].response, "held-out", row.kind)
        for key, row in answers.items()
        if row.category == "harmful" and key in base_answers and row.response != base_answers[key].response
    }
    benign = {key: row for key, row in answers.items() if row.category == "benign"}
    source = job.data if job.step == "dpo" else run / "pairs"
    pairs = []
    if not source.is_dir() or any(source.glob("*.parquet")):
        # First the ids alone, then only the rows drawn: the pairs of a run may not fit into memory.
        drawn = draw((row["pair_id"] for row in read_rows(source, ["pair_id"])), config.tokens.pairs, config.seed)
        wanted = set(drawn)
        rows = {row["pair_id"]: row for row in read_rows(source, _COLUMNS) if row["pair_id"] in wanted}
        pairs = [
            TokenPair(row["prompt"], row["chosen"], row["rejected"], "training", row["kind"], row["p_chosen"])
            for row in map(rows.__getitem__, drawn)
        ]
    return TokenRequest(
        model=str(model.resolve()),
        reference=job.model,
        base=base,
        # If the step started from the base itself, reference and base are one model.
        names=(name, "base" if identities[1] == identities[2] else Path(job.model).name, "base"),
        identities=identities,
        beta=getattr(job.optimisation, "beta", 0.0) or 1.0,
        max_length=config.training.dpo.max_length,
        pairs=[*pairs, *(changed[key] for key in draw(changed, HELD_OUT + _SPARE, config.seed))],
        answers=[
            TokenAnswer(_prompt(benign[key]), benign[key].response)
            for key in draw(benign, config.tokens.answers, config.seed)
        ],
        drawn_from={"training": count_rows(source) if pairs else 0, "held-out": len(changed)},
    )


def _complete_answers(run: Path, model: str) -> dict[str, Graded]:
    """By request, one model's answers to held-out requests that were not cut off and are not empty."""
    path = run / "answers" / f"{model}.parquet"
    rows = load_answers(path) if path.is_file() else []
    # The end of an answer that was cut off is missing, and with it tokens that matter.
    return {row.request_id: row for row in rows if row.finish_reason == "stop" and row.response.strip()}


def _prompt(row: Graded) -> list[dict[str, str]]:
    return [{"role": "user", "content": row.prompt}]
