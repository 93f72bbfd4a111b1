"""Which of several servers to ask next: a healthy one, not busy, with the conversation's beginning in its cache."""

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from charter.config.addresses import display_address
from charter.inference.answers import Answer
from charter.inference.dialect import VLLM, Dialect
from charter.inference.network import Proxy, proxy_of, route

logger = logging.getLogger(__name__)

_ERRORS_IN_A_ROW = 3
"""Errors without an answer between them that make an endpoint unhealthy; a single one may be the request's fault."""
_MAX_PROBE_INTERVAL_S = 5.0
"""Between two probes of an endpoint while none is healthy: the run makes no progress then."""


@dataclass(eq=False)
class Endpoint:
    """One server as the client sees it.

    It is `unhealthy` from when it cannot be reached, or returns only errors, until it answers again.
    """

    url: str
    """For messages, without a query, which may contain a key."""
    chat_url: str = ""
    """Where completions are asked for."""
    proxy: Proxy | None = None
    """Through which it is reached, if any."""
    in_flight: int = 0
    """Number of calls."""
    failures: int = 0
    """Since the last answer; of calls that were in flight together when it was excluded, only the first counts."""
    unhealthy: bool = False
    """Excluded from calls, and probed now and then."""
    excluded_at: float = -math.inf
    """When it was last excluded, in monotonic seconds."""
    next_probe_at: float = 0.0
    """When it is probed next, if it is unhealthy."""
    being_probed: bool = False
    """Whether a probe is in flight."""
    paused_until: float = 0.0
    """It gets no call before then, as its Retry-After says."""
    problem: str = ""
    """Its last error, for messages."""
    misconfigured: bool = False
    """Whether it rejects the API key, or does not know the model."""
    reported: bool = False
    """Whether a warning told the user that it is unhealthy."""
    dialect: Dialect = VLLM
    """How requests are written for it."""
    reads_logprobs: bool = False
    """Whether a choice was read from its log-probabilities."""
    notes: dict[str, str] = field(default_factory=dict)
    """What is peculiar to its answers, by topic; each was logged once."""

    def note(self, topic: str, text: str) -> None:
        """Log what is peculiar to this server, once for each topic."""
        if topic not in self.notes:
            self.notes[topic] = text
            logger.warning("%s: %s", self.url, text)

    def learn(self, dialect: Dialect) -> None:
        """Write later requests as one that it accepted, or as its answers demand; logs what is new."""
        if dialect is not self.dialect:
            self.dialect = self.dialect.merged(dialect)
            for topic, text in self.dialect.differences().items():
                self.note(topic, text)

    def note_answer(self, answer: Answer) -> None:
        """Log what an answer shows about its server."""
        if not answer.is_counted:
            self.note("usage", "does not count tokens; they are estimated, at four characters each")
        if not answer.has_known_reason:
            self.note(
                f"finish_reason {answer.reason}",
                f"ends answers for the unknown finish_reason {answer.reason!r}; they count as complete",
            )
        if answer.thinking:
            self.note("thinks", "the model thinks before it answers; thoughts are stored, and not part of the answer")

    def is_healthy(self, now: float) -> bool:
        """Whether it may get calls."""
        return not self.unhealthy and self.paused_until <= now

    @property
    def available_at(self) -> float:
        """When it may get a call or a probe."""
        return max(self.next_probe_at, self.paused_until)

    def succeeded(self) -> None:
        """Record an answer."""
        self.failures, self.next_probe_at = 0, 0.0
        self.unhealthy = self.misconfigured = self.reported = False

    def failed(self, now: float, began: float = math.inf, certain: bool = True) -> None:
        """Record a failure: exclude the endpoint, longer each time, at most half a minute.

        Args:
            now: in monotonic seconds.
            began: when the call started.
            certain: whether one such failure proves that the endpoint is unhealthy; a status of 500 must repeat.
        """
        if began < self.excluded_at:  # nothing new: all calls in flight fail when a server dies
            return
        self.failures += 1
        if certain or self.unhealthy or self.failures >= _ERRORS_IN_A_ROW:
            self.unhealthy, self.excluded_at = True, now
            self.next_probe_at = now + min(0.5 * 2.0 ** min(self.failures - 1, 6), 30.0)


@dataclass
class Router:
    """Chooses the least busy endpoint, but keeps a conversation where its beginning is in the prefix cache."""

    endpoints: list[Endpoint]
    slack: int = 8
    """Calls that the preferred endpoint may have in flight beyond those of the least busy one."""
    last_answer_at: float = 0.0
    """When any call was last answered; distinguishes a request that always fails from servers that are gone."""

    @classmethod
    def of(cls, base_urls: Sequence[str], dialects: Sequence[Dialect] = ()) -> "Router":
        """For servers of unknown state; with the dialects that a probe learned, if there was one."""
        endpoints = [
            Endpoint(display_address(url).rstrip("/"), route(url, "chat/completions"), proxy_of(url))
            for url in base_urls
        ]
        for endpoint, dialect in zip(endpoints, dialects, strict=False):
            endpoint.dialect, endpoint.notes = dialect, dialect.differences()  # reported by the probe
        return cls(endpoints)

    def choose(self, affinity: str, now: float, failed: Sequence[Endpoint] = ()) -> Endpoint | None:
        """The endpoint for a conversation that begins with `affinity`; None while none is healthy.

        Endpoints where this call `failed` before come last, by number of failures.
        """
        healthy = [e for e in self.endpoints if e.is_healthy(now)]
        if failed and healthy:
            fewest = min(map(failed.count, healthy))
            healthy = [e for e in healthy if failed.count(e) == fewest]
        if len(healthy) < 2:
            return healthy[0] if healthy else None
        # Rendezvous hashing: when an endpoint leaves, only its own conversations move.
        texts = {e.url: f"{e.url}\0{affinity}".encode("utf-8", "surrogatepass") for e in healthy}
        preferred = max(healthy, key=lambda e: hashlib.blake2b(texts[e.url], digest_size=8).digest())
        idlest = min(healthy, key=lambda e: e.in_flight)
        return preferred if preferred.in_flight <= idlest.in_flight + self.slack else idlest

    def record_recovery(self, endpoint: Endpoint) -> None:
        """Record that an unhealthy endpoint answered, and probe the others soon: their common problem may be over."""
        endpoint.succeeded()
        for other in self.endpoints:
            other.failures, other.next_probe_at = 0, 0.0

    def due_for_probe(self, now: float) -> list[Endpoint]:
        """Unhealthy endpoints due for a probe; probed sooner when none is healthy."""
        unhealthy = [e for e in self.endpoints if e.unhealthy]
        longest = _MAX_PROBE_INTERVAL_S if len(unhealthy) == len(self.endpoints) else math.inf
        return [e for e in unhealthy if not e.being_probed and min(e.next_probe_at, e.excluded_at + longest) <= now]
