"""How much slower the API's routes are than a route that only answers."""

import json
import tempfile
from pathlib import Path

from bench.content import BODY
from bench.load import Figures, load, request
from bench.service import Service, answer, bare, fill_list, service, sink
from bench.table import Goal, Measured, Row

BATCH_ROWS = 1_000
BATCHES = 20


def api_rows(calls: int) -> list[Row]:
    """The reference first, then each route on SQLite and on Postgres."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with bare(path) as url:
            reference = load(url, lambda _: request("GET", "/bare", "-"), calls=calls)
        rows = [Row(Goal("A bare Litestar route"), Measured(shown(reference), "", 1.0))]
        for name, distributed in (("SQLite", False), ("Postgres", True)):
            with sink(path) as port, service(path, port, distributed=distributed) as running:
                rows += _measure(running, name, reference, calls)
    return rows


def _measure(running: Service, name: str, reference: Figures, calls: int) -> list[Row]:
    with running.client() as client:
        list_id = fill_list(client, BATCH_ROWS)
        body = {"list_id": list_id, "subject": "News", "html": BODY}
        campaign_id = answer(client.post("/campaigns", json=body))["id"]

    def read(_: int) -> bytes:
        return request("GET", f"/api/v1/campaigns/{campaign_id}", running.key)

    def upsert(number: int) -> bytes:
        body = {"list_id": list_id, "email": f"new{number}@example.com", "first_name": "New"}
        return request("POST", "/api/v1/subscribers", running.key, json.dumps(body).encode())

    def batch(number: int) -> bytes:
        rows = [{"email": f"b{number}-{row}@example.com"} for row in range(BATCH_ROWS)]
        body = {"list_id": list_id, "subscribers": rows}
        return request("POST", "/api/v1/subscribers/batch", running.key, json.dumps(body).encode())

    reads = load(running.url, read, calls=calls)
    upserts = load(running.url, upsert, calls=calls // 3)
    batches = load(running.url, batch, calls=BATCHES, connections=2)
    rate = batches.rate * BATCH_ROWS
    limit = f"calls of the bare route, {reference.rate:,.0f}/s"
    return [
        _latency(f"GET /campaigns/{{id}}, {name}", reads, reference),
        _latency(f"POST /subscribers, {name}", upserts, reference),
        Row(
            Goal(f"Rows through the batch endpoint, {name}"),
            Measured(f"{rate:,.0f}/s", limit, rate / reference.rate),
        ),
    ]


def _latency(what: str, figures: Figures, reference: Figures) -> Row:
    return Row(
        Goal(f"p50 of {what}"), Measured(shown(figures), "the bare route's p50", figures.p50 / reference.p50)
    )


def shown(figures: Figures) -> str:
    return f"{figures.rate:,.0f}/s, p50 {figures.p50:.1f} ms, p95 {figures.p95:.1f} ms"
