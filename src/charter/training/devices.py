"""Which GPUs a training process sees. Without torch, as this must be set before torch looks for GPUs."""

from collections.abc import Mapping

from charter.core.hardware import gpus

VISIBLE = "CUDA_VISIBLE_DEVICES"


def pin_first_gpu(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables to add to a process's environment so that it sees one GPU; none if a launcher started it."""
    # TRL refuses to train in one process that sees several GPUs: transformers would wrap the model in nn.DataParallel.
    if "RANK" in environment:
        return {}
    return {VISIBLE: environment.get(VISIBLE, "0").split(",")[0].strip()}


def count_visible(environment: Mapping[str, str]) -> int:
    """How many GPUs a process may use."""
    visible = environment.get(VISIBLE)
    return len(gpus()) if visible is None else min(len(gpus()), len(visible.split(",")))


def warn_idle_gpus(processes: int, visible: int) -> str | None:
    """A warning if some GPUs are idle, with the settings that use them."""
    if visible <= processes:
        return None
    return (
        f"{visible - processes} of {visible} GPUs are idle. To use them, set training.processes={visible}, and"
        " training.distributed to ddp if the model fits on one of them, else to fsdp2."
    )
