"""Examples of automations, for `newsletter.api.examples`."""

from typing import Final

from newsletter.api.example_parts import AT, JSON, LIST, call

_ENDS: Final = "2026-11-24T09:30:00Z"


REQUESTS: Final[dict[str, JSON]] = {
    "create_automation": {
        "welcome": call(
            "A welcome, and a reminder for who did not open it",
            name="Welcome",
            list_id=LIST,
            start={"event": {"name": "subscriber.created"}},
            steps=[
                {
                    "id": "welcome",
                    "send": {
                        "subject": "Welcome!",
                        "html": '<p>Hello {{ first_name | default: "there" }}, good to have you here.</p>',
                    },
                },
                {"id": "three-days", "wait": {"days": 3}},
                {
                    "id": "opened",
                    "branch": {
                        "when": {"opened": {"step": "welcome"}},
                        "yes": [{"id": "engaged", "tag": {"add": ["engaged"]}}],
                        "no": [
                            {
                                "id": "reminder",
                                "send": {"subject": "Did you see this?", "html": "<p>Welcome, again.</p>"},
                            }
                        ],
                    },
                },
            ],
        ),
        "members": call(
            "Whoever comes to be a member",
            name="New members",
            list_id=LIST,
            start={"condition": {"when": {"all": [{"tag": "member"}, {"none": [{"tag": "staff"}]}]}}},
            steps=[{"send": {"subject": "You are in", "html": "<p>Thank you.</p>"}}],
        ),
    },
    "update_automation": {"name": call("Another name", name="Welcome, at length")},
    "trigger_automation": {
        "reader": call("By address", email="ada@example.com"),
        "variables": call(
            "With values of its own", email="ben@example.com", variables={"plan": "Pro", "seats": 5}
        ),
    },
}

_RUN: Final[JSON] = {
    "id": "run_01k9x3v7m8e5tbn2c4r6p0qzaw",
    "automation_id": "aut_01k9x3v7m8e5tbn2c4r6p0qzaw",
    "subscriber_id": "sub_01k9x3v7m8e5tbn2c4r6p0qzaw",
    "cause": "event",
    "event_id": "evt_01k9x3v7m8e5tbn2c4r6p0qzaw",
    "status": "running",
    "reason": None,
    "step_id": "opened",
    "due_at": _ENDS,
    "started_at": AT,
    "ended_at": None,
}

ANSWERS: Final[dict[str, JSON]] = {
    "list_automation_runs": {"data": [_RUN], "meta": {"per_page": 20, "next_cursor": None}},
    "get_automation_run": {
        "data": _RUN
        | {
            "variables": {},
            "steps": [
                {
                    "step_id": "welcome",
                    "outcome": "sent",
                    "reason": None,
                    "message_id": "msg_01k9x3v7m8e5tbn2c4r6p0qzaw000001",
                    "until": None,
                    "at": AT,
                },
                {
                    "step_id": "three-days",
                    "outcome": "waited",
                    "reason": None,
                    "message_id": None,
                    "until": _ENDS,
                    "at": AT,
                },
            ],
        }
    },
}
