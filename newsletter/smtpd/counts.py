"""What the listener of mail to send counts, for Prometheus."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from newsletter.smtpd.certificate import Certificate

TAKEN = "taken"
"""The result of a mail that is in the books; all other results are codes of errors, and those below."""
TOO_LARGE, NO_ROOM, REVOKED, UNAVAILABLE = "too_large", "no_room", "revoked", "unavailable"

_PREFIX = "newsletter_submission"


class Counts(Collector):
    """The numbers of one process. Its event loop counts; another thread may tell."""

    def __init__(self, held: Callable[[], int]) -> None:
        """``held``: octets of mails that are in memory."""
        self._held = held
        self._open = 0
        self._connections: Counter[str] = Counter()
        self._sign_ins: Counter[str] = Counter()
        self._mails: Counter[str] = Counter()
        self.certificate: Certificate | None = None

    @contextmanager
    def connection(self) -> Iterator[None]:
        """Of a client that is talked to."""
        self._connections["served"] += 1
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def too_many(self) -> None:
        """A connection that was sent away, as so many are open."""
        self._connections["too_many"] += 1

    def sign_in(self, result: str) -> None:
        self._sign_ins[result] += 1

    def mail(self, result: str) -> None:
        self._mails[result] += 1

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(f"{_PREFIX}_open_connections", "Connections that are open", self._open)
        yield GaugeMetricFamily(f"{_PREFIX}_held_bytes", "Mails on their way in memory", self._held())
        if self.certificate is not None:
            yield GaugeMetricFamily(
                f"{_PREFIX}_certificate_expires_seconds",
                "When the certificate ends, in seconds since 1970",
                self.certificate.ends.timestamp(),
            )
        for name, text, counted in (
            ("connections", "Connections, served or one too many", self._connections),
            ("sign_ins", "Sign-ins: ok, refused, or not looked at as the database was away", self._sign_ins),
            ("mails", "Mails by what became of them: taken, or why not", self._mails),
        ):
            family = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=["result"])
            for result, number in counted.copy().items():
                family.add_metric([result], number)
            yield family
