"""Where the shards of a run are worked on."""

from typing import Literal

from charter.config.section import Count, Section


class Runner(Section):
    """Where the shards of a run are worked on; `runner: ray` is short for `kind: ray` in it."""

    kind: Literal["here", "ray"] = "here"
    """`here`: in the flow's own process. `ray`: in the processes of a Ray cluster, for more calls than one process can
    make; see docs/scaling.md."""
    address: str = "auto"
    """Of the Ray cluster that this machine is a node of: `HOST:6379`, or `auto` to have it found."""
    shards: Count | None = None
    """Shards worked on at once. Empty: four in this process; as many as its nodes have CPUs on Ray, where each shard
    takes one."""
