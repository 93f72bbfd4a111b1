"""What the server must know: work pool, the queue that guards the GPU, lost runs, the deployments of prefect.yaml."""

import contextlib
import hashlib
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from charter.core.errors import ConfigError
from flows.cockpit.settings import GPU_QUEUE, POOL, ROOT, Cockpit
from flows.cockpit.silence import watch_for_silence

_PARTS = ("flows/*.py", "src/charter/config/*.py")
"""Code that the deployments' forms are made of."""


async def register(cockpit: Cockpit, deployments: Path, timeout_s: float = 180.0) -> bool:
    """Tell the server what it does not know yet; whether deployments were registered.

    A pool or queue that is there stays as it is, with the limits that people gave it. Deployments are registered
    when the file or the code of their forms has changed, so that a schedule switched on in the UI stays on.

    Raises:
        ConfigError: the file names something that cannot be registered.
        TimeoutError: the server did not register the deployments within `timeout_s`.
    """
    with cockpit.connected():
        async with get_client() as client:
            template = ProcessWorker.get_default_base_job_template()
            # What exists already stays as it is, with the limits that people gave it.
            with contextlib.suppress(ObjectAlreadyExists):
                await client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
            with contextlib.suppress(ObjectAlreadyExists):
                await client.create_work_queue(
                    GPU_QUEUE,
                    description="One run at a time serves or trains a model. Raise the limit on a larger machine.",
                    concurrency_limit=1,
                    work_pool_name=POOL,
                )
            await watch_for_silence(client)
    files = [deployments, *sorted(path for pattern in _PARTS for path in ROOT.glob(pattern))]
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    known = cockpit.home / "registered"
    if known.is_file() and known.read_text(encoding="utf-8") == wanted:
        return False
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(deployments)]
    environment = cockpit.client()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"registering '{deployments}' took longer than {timeout_s:.0f} s") from error
    if done.returncode:
        raise ConfigError(
            f"'{deployments}': cannot be registered. Correct it.\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    # Last, so that a registration that failed is tried again.
    known.write_text(wanted, encoding="utf-8")
    return True
