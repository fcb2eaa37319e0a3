"""``/api/docs``: the page, and that nothing of it comes from elsewhere."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import httpx
import pytest

from newsletter.api import docs
from tests.client import Client

STATIC = Path(docs.__file__).parent / "static"
PAGE = httpx.URL("http://news.test/api/docs")


def test_vendored_files_are_as_their_package_has_them() -> None:
    vendored = json.loads((STATIC / "VENDORED.json").read_text())
    assert vendored["license"] == "Apache-2.0"
    for name, digest in vendored["sha256"].items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest, name
    ours = {"VENDORED.json", "docs.css", "docs.js"}
    assert {path.name for path in STATIC.iterdir()} == vendored["sha256"].keys() | ours


async def test_every_file_of_the_page_is_there_and_may_be_kept_for_good(client: Client) -> None:
    page = await client.get(PAGE, headers={"Authorization": ""})
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    files = [link for link in links if link.startswith("docs/")]
    assert len(files) == 4
    for link in files:
        response = await client.get(PAGE.join(link))
        assert response.status_code == 200, link
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        expected = "text/css" if link.endswith(".css") else "text/javascript"
        assert response.headers["content-type"] == f"{expected}; charset=utf-8"
        assert response.content == (STATIC / link.rpartition("/")[2]).read_bytes()
    assert (await client.get(PAGE.join("openapi.json"))).status_code == 200


async def test_files_are_compressed_for_who_can_read_that(client: Client) -> None:
    page = await client.get(PAGE)
    link = re.search(r'src="(docs/[^"]+bundle.js)"', page.text)
    assert link is not None
    url = PAGE.join(link.group(1))
    async with client.stream("GET", url, headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["content-encoding"] == "gzip"
        raw = b"".join([part async for part in response.aiter_raw()])
    assert gzip.decompress(raw) == (STATIC / "swagger-ui-bundle.js").read_bytes()
    assert len(raw) < 600_000
    plain = await client.get(url, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    "path",
    [
        "docs/0000000000000000/docs.js",
        "docs/{docs.js}/VENDORED.json",
        "docs/x/..%2f..%2fdocs.py",
        "docs/docs.js",
    ],
)
async def test_other_files_are_not_served(client: Client, path: str) -> None:
    path = path.replace("{docs.js}", docs.asset("docs.js").digest)
    assert (await client.get(PAGE.join(path))).status_code == 404


async def test_the_page_names_no_foreign_host_and_its_policy_allows_none(client: Client) -> None:
    page = await client.get(PAGE)
    hosts = re.findall(r"https?://([\w.-]+)", page.text)
    assert set(hosts) <= {"www.w3.org"}  # The name of SVG, which nobody asks.
    policy = page.headers["content-security-policy"]
    assert set(re.findall(r"https?://([\w.-]+)", policy)) == {"news.test"}
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    for name in ("docs.js", "docs.css"):
        assert "://" not in (STATIC / name).read_text()
    assert "validatorUrl: null" in (STATIC / "docs.js").read_text()
