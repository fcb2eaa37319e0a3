"""Types commands inside the suite's process, which is faster than a process for each."""

import json
from typing import Any

from click.testing import CliRunner, Result

from newsletter.cli import main


class Operator:
    """Who types commands with these variables in the environment."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables = variables

    def types(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, env=self._variables)

    def gets(self, *arguments: str) -> Any:
        run = self.types(*arguments, "--json")
        assert run.exit_code == 0, run.output
        return json.loads(run.stdout)
