"""Settings of the suite's size, as variables for a process."""

from collections.abc import Iterator

import pytest

from newsletter.kit.logging import configure
from newsletter.settings import Settings
from tests.cli.operator import Operator
from tests.conftest import SECRET_KEY


@pytest.fixture
def variables(settings: Settings) -> dict[str, str]:
    """The environment of an installation of the suite's size on the test's database."""
    made = {
        "NEWSLETTER_DATA_DIR": str(settings.data_dir),
        "NEWSLETTER_DATABASE_URL": settings.database_url,
        "NEWSLETTER_SECRET_KEY": SECRET_KEY,
        "NEWSLETTER_LOG_FORMAT": "json",
    }
    if settings.redis_url is not None:
        made["NEWSLETTER_REDIS_URL"] = settings.redis_url
    return made


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """A command sets up logging for its own process, which here is the suite's."""
    yield
    configure("warning", "console")


@pytest.fixture
def operator(variables: dict[str, str]) -> Operator:
    return Operator(variables | {"NEWSLETTER_LOG_LEVEL": "warning"})
