"""Build hook: puts the prompts and the e-mail templates into the wheel.

They live at the top of the repository, because they are reviewed like code, and travel as
``newsletter/_data``. An editable install must not get a copy, which would go stale:
`newsletter.kit.resources` finds them in the checkout there.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DataFiles(BuildHookInterface[Any]):
    """Runs for ``standard`` wheels only; a missing folder fails the build."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            for family in ("prompts", "email_templates"):
                build_data["force_include"][family] = f"newsletter/_data/{family}"
