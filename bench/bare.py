"""The reference of the API's figures: ``python -m bench.bare PORT``, one route that only answers."""

import sys

import uvicorn
from litestar import Litestar, get


@get("/bare", sync_to_thread=False)
def bare() -> dict[str, dict[str, str]]:
    return {"data": {"status": "ok"}}


if __name__ == "__main__":
    uvicorn.run(
        Litestar([bare], openapi_config=None),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
    )
