"""``/metrics``: what Prometheus reads."""

import pytest
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

from newsletter import __version__
from newsletter.api.metrics import BUCKETS, Requests
from newsletter.kit import heartbeat, ids
from newsletter.providers.base import ServerDown
from newsletter.routing import breaker, meter, throttle
from newsletter.routing.choice import DEFAULT_SERVER
from newsletter.routing.throttle import Throttle
from newsletter.runtime import Runtime
from tests.client import Client
from tests.mailbox import HTML, subscribed_list


async def scrape(client: Client) -> dict[str, float]:
    """Each sample by its name and labels, as they are written."""
    response = await client.get("http://news.test/metrics", headers={"Authorization": ""})
    assert response.status_code == 200
    assert response.headers["content-type"] == CONTENT_TYPE_LATEST
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_requests_are_counted_by_the_pattern_of_their_route(client: Client) -> None:
    for name in ("lst_1", "lst_2"):
        await client.get(f"/lists/{name}")
    await client.get("/lists")
    samples = await scrape(client)
    pattern = 'method="GET",route="/api/v1/lists/{list_id}"'
    assert samples[f'newsletter_http_requests_total{{{pattern},status="404"}}'] == 2
    assert samples[f"newsletter_http_request_seconds_count{{{pattern}}}"] == 2
    assert samples['newsletter_http_requests_total{method="GET",route="/api/v1/lists",status="200"}'] == 1
    assert not [name for name in samples if "lst_1" in name]


def test_requests_are_told_as_the_library_would_tell_them() -> None:
    requests, ours, library = Requests(), CollectorRegistry(), CollectorRegistry()
    ours.register(requests)
    labels = ["method", "route"]
    counts = Counter("newsletter_http_requests", "Requests", [*labels, "status"], registry=library)
    times = Histogram("newsletter_http_request_seconds", "Time", labels, buckets=BUCKETS, registry=library)

    for seconds in (0.0, 0.005, 0.0050001, 0.3, 0.3, 150.0, 151.5):
        requests.observe("GET", "/a", 200, seconds)
        counts.labels("GET", "/a", "200").inc()
        times.labels("GET", "/a").observe(seconds)

    told, expected = (
        sorted(line for line in generate_latest(each).decode().splitlines() if line[0] != "#")
        for each in (ours, library)
    )
    assert told == [line for line in expected if "_created" not in line]
    assert len(told) == len(BUCKETS) + 4


async def test_invented_paths_and_methods_make_no_new_series(client: Client) -> None:
    for number in range(3):
        await client.get(f"http://news.test/wp-admin/{number}")
        await client.request(f"BREW{number}", "http://news.test/healthz")
    samples = await scrape(client)
    assert samples['newsletter_http_requests_total{method="GET",route="none",status="404"}'] == 3
    others = [name for name in samples if "_requests_total" in name and 'method="other"' in name]
    assert len(others) == 1
    assert not [name for name in samples if "BREW" in name or "wp-admin" in name]


async def test_work_that_waits_is_shown(client: Client, runtime: Runtime) -> None:
    list_id = await subscribed_list(client, "Ada")
    body = {"list_id": list_id, "subject": "Fresh beans", "html": HTML, "send": True}
    await client.data("POST", "/campaigns", 201, json=body)
    async with runtime.db.unit_of_work() as session:
        await heartbeat.beat(session, "sweeper")
    samples = await scrape(client)
    assert samples['newsletter_mailings{status="running"}'] == 1
    assert samples['newsletter_batches{status="waiting"}'] == 1
    assert samples['newsletter_jobs{status="queued"}'] >= 1
    assert samples['newsletter_jobs{status="dead"}'] == 0
    assert 0 <= samples['newsletter_heartbeat_age_seconds{loop="sweeper"}'] < 30
    assert samples["newsletter_database_up"] == 1
    assert samples['newsletter_database_connections{state="limit"}'] == runtime.settings.database_pool
    assert samples[f'newsletter_build_info{{version="{__version__}"}}'] == 1


async def test_while_the_database_is_away_the_process_still_tells_of_itself(
    client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scrape(client)

    def away() -> None:
        raise OSError("gone")

    monkeypatch.setattr(runtime.db, "read", away)
    samples = await scrape(client)
    assert samples["newsletter_database_up"] == 0
    assert not [name for name in samples if name.startswith("newsletter_jobs")]
    assert samples["process_start_time_seconds"] > 0


async def test_servers_show_what_went_through_them_and_whether_they_fail(
    client: Client, runtime: Runtime
) -> None:
    server_id = ids.uuid7()
    async with runtime.db.unit_of_work() as session:
        await meter.note(session, DEFAULT_SERVER, sent=7, deferred=0, failed=2)
        await meter.note(session, server_id, sent=1, deferred=3, failed=0)
        await breaker.trip(session, server_id, (60,), ServerDown("away"))
        await throttle.begin(session, server_id, "example.org", Throttle(1.0, most=4))
    samples = await scrape(client)
    name, server = "newsletter_sending_server", ids.public("srv", server_id)
    assert samples[f'{name}_mails{{outcome="sent",server="default"}}'] == 7
    assert samples[f'{name}_mails{{outcome="failed",server="default"}}'] == 2
    assert samples[f'{name}_mails{{outcome="deferred",server="{server}"}}'] == 3
    assert samples[f'{name}_breaker{{server="{server}",state="open"}}'] == 1
    assert samples[f'{name}_limited_domains{{server="{server}"}}'] == 1
