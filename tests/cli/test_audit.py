"""``newsletter audit``: an operator asks whether the log is as it was written."""

import json
import threading
import time
from pathlib import Path

import httpx

from tests.cli.operator import Operator
from tests.cli.processes import started

OWNER = ("accounts", "create", "--name", "A", "--email", "a@example.com")


def test_an_operator_verifies_all_chains_and_heads_that_were_kept(operator: Operator, tmp_path: Path) -> None:
    operator.types("db", "upgrade")
    project_id = operator.gets(*OWNER)["project_id"]
    good = operator.types("audit", "verify")
    assert (good.exit_code, good.stdout) == (0, f"{project_id}: 1 read, up to number 1; as it was written\n")

    kept = tmp_path / "heads.jsonl"
    kept.write_text(json.dumps({"data": {"project_id": project_id, "seq": 9, "hash": "0"}}))
    cut = operator.types("audit", "verify", "--project", project_id, "--head", str(kept))
    assert (cut.exit_code, "entries 2 to 9 are missing" in cut.stdout) == (1, True)
    kept.write_text(json.dumps({"seq": 1}))
    refused = operator.types("audit", "verify", "--head", str(kept))
    assert (refused.exit_code, "line 1: this is no head" in refused.output) == (1, True)
    signed = operator.types("audit", "sign", "--project", project_id)
    assert (signed.exit_code, signed.stdout) == (0, f"{project_id}: signed\n")


def test_a_process_that_is_killed_leaves_chains_without_a_gap(
    operator: Operator, variables: dict[str, str], tmp_path: Path
) -> None:
    quick = variables | {"NEWSLETTER_AUDIT_FLUSH_SECONDS": "0.01"}
    with started(tmp_path, "serve", "--port", "0", env=quick) as server:
        url = f"{server.url}/api/v1"
        account = operator.gets(*OWNER, "--plan", "enterprise")
        asking = operator.gets("keys", "create", "--project", account["project_id"], "--name", "asks")
        headers = {"Authorization": f"Bearer {account['api_key']}"}

        def go_on() -> None:
            """Until nobody answers any more; those beyond the limit of the key count, too."""
            with httpx.Client(headers=headers, timeout=60) as caller:
                while True:
                    try:
                        caller.get(f"{url}/lists")
                    except httpx.HTTPError:
                        return

        callers = [threading.Thread(target=go_on) for _ in range(3)]
        for caller in callers:
            caller.start()
        head: dict[str, int] = {"seq": 0}
        while head["seq"] < 50:
            own = {"Authorization": f"Bearer {asking['api_key']}"}
            answer = httpx.get(f"{url}/audit-log/head", headers=own, timeout=60)
            assert answer.status_code == 200, answer.text
            head = answer.json()["data"]
            time.sleep(0.2)
        server.process.kill()
        server.process.wait()
        for caller in callers:
            caller.join()
    kept = tmp_path / "heads.jsonl"
    kept.write_text(json.dumps(head))
    run = operator.types("audit", "verify", "--head", str(kept))
    assert run.exit_code == 0, run.output
    assert int(run.stdout.split()[1]) >= head["seq"]
