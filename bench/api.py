"""How much slower the API's routes are than a route that only answers."""

import json
import tempfile
from pathlib import Path

from bench.load import Figures, load, request
from bench.sending import BODY
from bench.service import Service, answer, bare, fill_list, service, sink

BATCH_ROWS = 1_000
BATCHES = 20


def api_rows(calls: int) -> list[tuple[str, str, str, str]]:
    """The reference first, then each route on SQLite and on Postgres."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with bare(path) as url:
            reference = load(url, lambda _: request("GET", "/bare", "-"), calls=calls)
        rows = [("A bare Litestar route", shown(reference), "", "1.00")]
        for name, distributed in (("SQLite", False), ("Postgres", True)):
            with sink(path) as port, service(path, port, distributed=distributed) as running:
                rows += _measure(running, name, reference, calls)
    return rows


def _measure(running: Service, name: str, reference: Figures, calls: int) -> list[tuple[str, str, str, str]]:
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
    rows_per_second = batches.rate * BATCH_ROWS
    return [
        (f"GET /campaigns/{{id}}, {name}", shown(reads), "the bare route", _times(reads, reference)),
        (f"POST /subscribers, {name}", shown(upserts), "the bare route", _times(upserts, reference)),
        (
            f"Batch upsert, {name}",
            f"{rows_per_second:,.0f} rows/s",
            "the bare route's calls a second",
            f"{rows_per_second / reference.rate:.2f}",
        ),
    ]


def _times(figures: Figures, reference: Figures) -> str:
    return f"p50 {figures.p50 / reference.p50:.1f} ×, p95 {figures.p95 / reference.p95:.1f} ×"


def shown(figures: Figures) -> str:
    return f"{figures.rate:,.0f}/s, p50 {figures.p50:.1f} ms, p95 {figures.p95:.1f} ms"
