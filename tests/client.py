"""The HTTP client of the tests."""

from typing import Any

import httpx


class Client(httpx.AsyncClient):
    """An `httpx.AsyncClient` that knows the API's envelope."""

    secret: str = ""

    async def data(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """The ``data`` of an answer that must have this status."""
        response = await self.request(method, path, **options)
        assert response.status_code == status, response.text
        return response.json()["data"]

    async def expect_error(self, method: str, path: str, status: int, code: str, **options: Any) -> Any:
        """The ``error`` of an answer that must have this status and code."""
        response = await self.request(method, path, **options)
        assert response.status_code == status, response.text
        error = response.json()["error"]
        assert error["code"] == code, response.text
        assert error["request_id"] == response.headers["X-Request-Id"]
        return error
