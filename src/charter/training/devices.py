"""Which GPUs a training process sees. Without torch: it is settled before torch looks for them.

TRL refuses to train in one process that sees several GPUs (transformers would wrap the model in `nn.DataParallel`), so
a process that no launcher gave a number sees the first one only.
"""

from collections.abc import Mapping

from charter.core.hardware import gpus

VISIBLE = "CUDA_VISIBLE_DEVICES"


def first_alone(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to a process's environment so that it sees one GPU; nothing where a launcher numbered it."""
    if "RANK" in environment:
        return {}
    return {VISIBLE: environment.get(VISIBLE, "0").split(",")[0].strip()}


def count_visible(environment: Mapping[str, str]) -> int:
    """How many GPUs a process may use."""
    listed = environment.get(VISIBLE)
    return len(gpus()) if listed is None else min(len(gpus()), len(listed.split(",")))


def see_idle(processes: int, visible: int) -> str | None:
    """That some GPUs have nothing to do, and which settings use them."""
    if visible <= processes:
        return None
    return (
        f"{visible - processes} of {visible} GPUs lie idle. To use them, set training.processes={visible}, and"
        " training.distributed to ddp where the model fits on one of them, else to fsdp2."
    )
