"""Accept a run, or take the accepted one back.

What is accepted is copied, so that a later run of the same name changes nothing of it: the model, and everything its
verdict rests on, laid out as in the run's folder.
"""

import getpass
import shutil
import time
from pathlib import Path

from charter.core.errors import RegistryError
from charter.core.files import atomic_folder, sync
from charter.evaluation.gate import Verdict
from charter.inference.identity import identity_files, model_identity
from charter.runs.folder import locked
from charter.runs.registry.record import ACCEPTED, FILE, FORCED, AcceptedRun, Event, Registry, add_event, changing
from charter.runs.registry.seal import Sealed, hash_files, read_sealed
from charter.runs.verdict import apply_gate

CARDS = ("MODEL_CARD.md", "DATASET_CARD.md")


def promote(run: Path, by: str, force: bool = False, reason: str = "") -> AcceptedRun:
    """Accept the run in folder `run`: copy it under a name of its own and write it down.

    Its verdict is formed anew, against the model that is accepted at this moment.

    Args:
        run: its folder, or the copy of one that was accepted before.
        by: who accepts it.
        force: accept it though its verdict is no-go. Its copy then lies among the forced ones.
        reason: written down; needed for `force`.

    Raises:
        RegistryError: the run has not finished, was changed since its verdict, is no-go, or is accepted already.
        ConfigError: a run is at work in the folder.
    """
    if force and not reason.strip():
        raise RegistryError(f"run '{run}': --force without a reason. Write it down: --reason 'why it is accepted'.")
    with changing(folder_of_runs(run)) as registry, locked(run):
        sealed = read_sealed(run)
        if registry.accepted and registry.accepted.id == sealed.id:
            raise RegistryError(f"run '{run}': is accepted already, as {sealed.id}. Nothing was changed.")
        verdict = apply_gate(run, registry, sealed.model)
        if verdict.verdict != "go" and not force:
            raise RegistryError(_refusal(run, verdict))
        entry = _entry(sealed, verdict)
        _copy(run, registry.folder(entry), sealed)
        add_event(registry, Event(action="promote", at=_now(), by=by, reason=reason.strip(), run=entry))
        return entry


def rollback(outputs: Path, by: str, reason: str = "") -> Registry:
    """Take back the run that is accepted; the one before it stands again, whether or not its copy is still whole.

    A model that must go goes; `trouble` says what is wrong with the one that stands then.

    Raises:
        RegistryError: nothing is accepted.
    """
    if not outputs.is_dir():
        raise RegistryError(f"outputs '{outputs}': no such folder. Name the folder of the runs.")
    with changing(outputs) as registry:
        if registry.accepted is None:
            raise RegistryError(f"outputs '{outputs}': no run is accepted, so there is nothing to take back.")
        event = Event(action="rollback", at=_now(), by=by, reason=reason.strip(), run=registry.accepted)
        return add_event(registry, event)


def trouble(registry: Registry) -> str:
    """What is wrong with the copy of the run that stands: it is gone, or another model now; empty where all is well."""
    now = registry.accepted
    if now is None or _is_model(registry.folder(now) / now.model, now.identity):
        return ""
    model = registry.folder(now) / now.model
    wrong = "holds other weights than were accepted" if model.is_dir() else "is gone"
    return (
        f"accepted '{now.id}': its copy, '{model}', {wrong}. Bring it back, promote its run again after charter "
        "rollback, or take back to the one before it."
    )


def folder_of_runs(run: Path) -> Path:
    """The folder that holds the runs, of which `run` is one or the copy of one."""
    parent = run.resolve().parent
    is_copy = parent.name in (ACCEPTED, FORCED) and (parent.parent / FILE).is_file()
    return parent.parent if is_copy else parent


def user_name() -> str:
    """Who is at work, as the system knows them; ``unknown`` where it does not."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user database
        return "unknown"


def _entry(sealed: Sealed, verdict: Verdict) -> AcceptedRun:
    law = sealed.manifest["constitution"]
    return AcceptedRun(
        id=sealed.id,
        run=sealed.manifest["run"],
        model=sealed.model,
        identity=sealed.manifest["models"][sealed.model],
        folder=f"{ACCEPTED if verdict.verdict == 'go' else FORCED}/{sealed.id}",
        constitution=f"{law['name']} {law['version']}",
        verdict=verdict.verdict,
        verdict_reason=verdict.reason,
    )


def _refusal(run: Path, verdict: Verdict) -> str:
    reasons = "".join(f"\n  {check.name}: {check.reason}" for check in verdict.checks if not check.passed)
    said = f"{verdict.reason} {verdict.sign_off}".strip()
    return (
        f"run '{run}': {verdict.outcome}, so it is not accepted. {said}{reasons}\n"
        "Mend it and run it again, or accept it all the same: --force --reason 'why'."
    )


def _copy(run: Path, to: Path, sealed: Sealed) -> None:
    """Copy what was judged; all of it or nothing appears under the name, durable before it does.

    A copy of the same that is there stays, once it is read and found to be the same.
    """
    if to.is_dir():
        if changed := _changed(to, sealed):
            raise RegistryError(
                f"run '{run}': there is a copy of it already, '{to}', which is another than was judged: "
                f"{', '.join(changed)}. Move that folder away, then promote the run again."
            )
        return
    # A promotion that was killed left a large folder. No other is at work now: the caller holds the registry's lock.
    for leftover in to.parent.glob(f".{to.name}.*unfinished"):
        shutil.rmtree(leftover, ignore_errors=True)
    kept = [run / name for name in (*sealed.manifest["files"], "manifest.json", *CARDS)]
    with atomic_folder(to) as unfinished:
        for source in [*kept, *identity_files(run / sealed.model)]:
            if source.is_file():
                target = unfinished / source.relative_to(run)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        if model_identity(unfinished / sealed.model) != sealed.manifest["models"][sealed.model]:
            raise RegistryError(
                f"run '{run}': the copy of its model '{sealed.model}' is not the same. End what writes to it, then "
                "promote it again."
            )
    sync(to.parent.parent)  # the first promotion made to.parent


def _changed(copy: Path, sealed: Sealed) -> list[str]:
    """What of a copy is not as it was judged, read again; its model by the name that the run gives it."""
    files, now = sealed.manifest["files"], hash_files(copy)
    changed = sorted(name for name in files.keys() | now.keys() if files.get(name) != now.get(name))
    same = _is_model(copy / sealed.model, sealed.manifest["models"][sealed.model])
    return changed if same else [*changed, sealed.model]


def _is_model(folder: Path, identity: str) -> bool:
    return folder.is_dir() and bool(identity_files(folder)) and model_identity(folder) == identity


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
