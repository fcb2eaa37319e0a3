"""The SMTP client alone, against a pipelined client in C; both push the same prebuilt bytes."""

from collections.abc import Callable
from statistics import median

from bench.content import sample
from bench.references import bare_loop, c_client
from bench.sinks import fast_sink
from bench.table import Goal, Measured, Row, row


def wire_rows(count: int, rounds: int) -> list[Row]:
    return [
        row(Goal("Wire client / a pipelined C client, DATA", 0.80, 0.95), lambda: _data(count, rounds)),
        row(Goal("… in chunks (BDAT) / the C client with DATA"), lambda: _chunks(count, rounds)),
    ]


def _data(count: int, rounds: int) -> Measured:
    with fast_sink() as port:
        return _compared(lambda: bare_loop([port], count, sample()), port, count, rounds)


def _chunks(count: int, rounds: int) -> Measured:
    with fast_sink() as port, fast_sink(chunking=True) as chunking:
        return _compared(lambda: bare_loop([chunking], count, sample()), port, count, rounds)


def _compared(ours: Callable[[], float], port: int, count: int, rounds: int) -> Measured:
    pairs = [(ours(), c_client(port, count, sample())) for _ in range(rounds)]
    mine, theirs = (median(side) for side in zip(*pairs, strict=True))
    return Measured(
        f"{mine:,.0f} mails/s, 4 connections",
        f"{theirs:,.0f}/s: `client.c`, 4 connections, into `sink.c`",
        median(one / other for one, other in pairs),
    )
