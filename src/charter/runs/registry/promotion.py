"""Accept a run, or roll the accepted one back.

The model and everything that its verdict depends on are copied, laid out as in the run's folder, so that a later run
of the same name does not change them.
"""

import getpass
import shutil
from pathlib import Path

from charter.core.errors import RegistryError
from charter.core.files import atomic_folder, sync
from charter.core.formatting import utc_now
from charter.inference.identity import identity_files, model_identity
from charter.runs.folder import lock_run_folder
from charter.runs.registry.record import ACCEPTED, FILE, FORCED, AcceptedRun, Event, RunRegistry, add_event, changing
from charter.runs.registry.seal import VerifiedRun, hash_files, verify_run
from charter.runs.verdict import apply_gate

CARDS = ("MODEL_CARD.md", "DATASET_CARD.md")


def promote(run: Path, by: str, force: bool = False, reason: str = "") -> AcceptedRun:
    """Accept the run in folder `run`: copy it under a unique name and add it to the registry.

    Its verdict is formed again: the model that it must not fall behind may have changed since it was formed.

    Args:
        run: its folder, or the copy of one that was accepted before.
        by: who accepts it.
        force: accept it although its verdict is no-go. Its copy is then in the folder `FORCED`.
        reason: kept in the registry; required with `force`.

    Raises:
        RegistryError: the run has not finished, was changed since its verdict, is no-go, or is accepted already.
        ConfigError: a run is at work in the folder.
    """
    if force and not reason.strip():
        raise RegistryError(f"run '{run}': --force without a reason. Add --reason 'why it is accepted'.")
    # Both locks: no other promotion, and no run that writes into the folder, while it is hashed and copied.
    with changing(folder_of_runs(run)) as registry, lock_run_folder(run):
        verified = verify_run(run)
        if registry.accepted and registry.accepted.id == verified.id:
            raise RegistryError(f"run '{run}': is accepted already, as {verified.id}. Nothing was changed.")
        # Another model may have been accepted since the run's verdict, and this one must not fall behind it.
        verdict = apply_gate(run, registry, verified.model)
        if verdict.verdict != "go" and not force:
            reasons = "".join(f"\n  {check.name}: {check.reason}" for check in verdict.checks if not check.passed)
            raise RegistryError(
                f"run '{run}': {verdict.outcome}, so it is not accepted. "
                f"{f'{verdict.reason} {verdict.sign_off}'.strip()}{reasons}\n"
                "Fix it and rerun, or override: --force --reason 'why'."
            )
        constitution = verified.manifest["constitution"]
        entry = AcceptedRun(
            id=verified.id,
            run=verified.manifest["run"],
            model=verified.model,
            identity=verified.manifest["models"][verified.model],
            folder=f"{ACCEPTED if verdict.verdict == 'go' else FORCED}/{verified.id}",
            constitution=f"{constitution['name']} {constitution['version']}",
            verdict=verdict.verdict,
            verdict_reason=verdict.reason,
        )
        # The copy first: the registry must never name a model that is not there.
        _copy(run, registry.folder(entry), verified)
        add_event(registry, Event(action="promote", at=utc_now(), by=by, reason=reason.strip(), run=entry))
        return entry


def rollback(outputs: Path, by: str, reason: str = "") -> RunRegistry:
    """Roll back the accepted run; the one before it is current again.

    That succeeds even if the earlier copy is damaged, which `integrity_problem` reports: a bad model must be removable.

    Raises:
        RegistryError: nothing is accepted.
    """
    if not outputs.is_dir():
        raise RegistryError(f"outputs '{outputs}': no such folder. Name the folder of the runs.")
    with changing(outputs) as registry:
        if registry.accepted is None:
            raise RegistryError(f"outputs '{outputs}': no run is accepted, so there is nothing to roll back.")
        event = Event(action="rollback", at=utc_now(), by=by, reason=reason.strip(), run=registry.accepted)
        return add_event(registry, event)


def integrity_problem(registry: RunRegistry) -> str:
    """What is wrong with the copy of the current run: it is gone, or has other weights; empty if nothing is."""
    current = registry.accepted
    if current is None or _is_model(registry.folder(current) / current.model, current.identity):
        return ""
    model = registry.folder(current) / current.model
    problem = "has other weights than were accepted" if model.is_dir() else "is gone"
    return (
        f"accepted '{current.id}': its copy, '{model}', {problem}. Restore it, promote its run again after charter "
        "rollback, or roll back to the previous one."
    )


def folder_of_runs(run: Path) -> Path:
    """The folder of the runs, where `run` is one of them or the copy of one."""
    parent = run.resolve().parent
    is_copy = parent.name in (ACCEPTED, FORCED) and (parent.parent / FILE).is_file()
    return parent.parent if is_copy else parent


def user_name() -> str:
    """The user's name on this system; ``unknown`` if it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        return "unknown"


def _copy(run: Path, to: Path, verified: VerifiedRun) -> None:
    """Copy what was evaluated, atomically and durably; an existing copy stays if it has the same content."""
    if to.is_dir():
        recorded, current = verified.manifest["files"], hash_files(to)
        changed = sorted(name for name in recorded.keys() | current.keys() if recorded.get(name) != current.get(name))
        if not _is_model(to / verified.model, verified.manifest["models"][verified.model]):
            changed.append(verified.model)
        if changed:
            raise RegistryError(
                f"run '{run}': its copy already exists, '{to}', and differs from what was evaluated: "
                f"{', '.join(changed)}. Move that folder away, then promote the run again."
            )
        return
    # A promotion that was killed left a large folder. No other is at work now: the caller holds the registry's lock.
    for leftover in to.parent.glob(f".{to.name}.*unfinished"):
        shutil.rmtree(leftover, ignore_errors=True)
    # The cards are not sealed, as people may edit them, but belong to the model.
    kept = [run / name for name in (*verified.manifest["files"], "manifest.json", *CARDS)]
    with atomic_folder(to) as unfinished:
        for source in [*kept, *identity_files(run / verified.model)]:
            if source.is_file():
                target = unfinished / source.relative_to(run)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        if model_identity(unfinished / verified.model) != verified.manifest["models"][verified.model]:
            raise RegistryError(
                f"run '{run}': the copy of its model '{verified.model}' differs. Stop what writes to it, then "
                "promote it again."
            )
    sync(to.parent.parent)  # the first promotion made to.parent


def _is_model(folder: Path, identity: str) -> bool:
    return folder.is_dir() and bool(identity_files(folder)) and model_identity(folder) == identity
