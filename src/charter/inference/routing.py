"""Which of several servers to ask next: one that is well, not busy, and has a conversation's beginning cached."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

_IN_A_ROW = 3
"""Errors without an answer between them that show an endpoint to be ill; a single one may be the request's fault."""
_WHEN_ALL_ARE_ILL_S = 5.0
"""Between two looks at an endpoint, at most: then the run stands still."""


@dataclass(eq=False)
class Endpoint:
    """One server as the client sees it.

    It is `ill` from the moment that it cannot be reached, or answers with nothing but errors, until it answers again.
    """

    url: str
    busy: int = 0
    """Calls in flight."""
    failures: int = 0
    """Since the last answer; of calls that were in flight together when it was left out only the first counts."""
    ill: bool = False
    """Left out, and looked at now and then."""
    left_out_at: float = -math.inf
    """When it was last left out, in monotonic seconds."""
    down_until: float = 0.0
    """When it is to be looked at next, if it is ill."""
    looked_at: bool = False
    """Whether somebody is looking just now."""
    rests_until: float = 0.0
    """Not asked before then, because it said so."""
    problem: str = ""
    """What it last said or did in place of an answer."""
    refuses: bool = False
    """Whether it wants another key, or does not know the model."""
    told: bool = False
    """Whether its illness was told to the user."""
    constrained: bool = True
    """Whether it takes `structured_outputs`."""
    continues: bool = True
    """Whether it takes `continue_final_message`."""

    def is_well(self, now: float) -> bool:
        """Whether it may be asked."""
        return not self.ill and self.rests_until <= now

    @property
    def free_at(self) -> float:
        """When it may be asked, or looked at."""
        return max(self.down_until, self.rests_until)

    def succeeded(self) -> None:
        """It answered."""
        self.failures, self.down_until = 0, 0.0
        self.ill = self.refuses = self.told = False

    def failed(self, now: float, began: float = math.inf, certain: bool = True) -> None:
        """It could not be reached: leave it out, longer each time, at most half a minute.

        A call that `began` before it was left out says nothing new: all calls in flight fail when a server dies.
        What is not `certain`, such as a status of 500, counts when it comes several times in a row.
        """
        if began < self.left_out_at:
            return
        self.failures += 1
        if certain or self.ill or self.failures >= _IN_A_ROW:
            self.ill, self.left_out_at = True, now
            self.down_until = now + min(0.5 * 2.0 ** min(self.failures - 1, 6), 30.0)


@dataclass
class Router:
    """Least busy first, but a conversation stays where its beginning is in the prefix cache."""

    endpoints: list[Endpoint]
    slack: int = 8
    """Calls that the preferred endpoint may have more in flight than the least busy one."""
    answered: float = 0.0
    """When any call last had its answer: tells a poisoned request from servers that are gone."""

    @classmethod
    def of(cls, base_urls: Sequence[str]) -> "Router":
        """For servers of which nothing is known yet."""
        return cls([Endpoint(url.rstrip("/")) for url in base_urls])

    def choose(self, affinity: str, now: float, failed: Sequence[Endpoint] = ()) -> Endpoint | None:
        """The endpoint for a conversation that begins with `affinity`; None while none is well.

        Those on which this call has `failed` come last, by how often it did.
        """
        well = [e for e in self.endpoints if e.is_well(now)]
        if failed and well:
            fewest = min(map(failed.count, well))
            well = [e for e in well if failed.count(e) == fewest]
        if len(well) < 2:
            return well[0] if well else None
        preferred = max(well, key=lambda e: _weight(affinity, e.url))
        idlest = min(well, key=lambda e: e.busy)
        return preferred if preferred.busy <= idlest.busy + self.slack else idlest

    def well_again(self, endpoint: Endpoint) -> None:
        """Have the others looked at soon and often again: what kept all of them away may be over."""
        endpoint.succeeded()
        for other in self.endpoints:
            other.failures, other.down_until = 0, 0.0

    def due(self, now: float) -> list[Endpoint]:
        """Those that are ill and were left alone for long enough, which is less when none is well."""
        ill = [e for e in self.endpoints if e.ill]
        longest = _WHEN_ALL_ARE_ILL_S if len(ill) == len(self.endpoints) else math.inf
        return [e for e in ill if not e.looked_at and min(e.down_until, e.left_out_at + longest) <= now]


def _weight(affinity: str, url: str) -> bytes:
    """Rendezvous hashing: when an endpoint leaves, only its own conversations move."""
    return hashlib.blake2b(f"{url}\0{affinity}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
