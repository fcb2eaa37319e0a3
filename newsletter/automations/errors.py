"""Why an automation cannot be changed or started."""

from newsletter.kit.errors import Conflict


class AutomationLimitReached(Conflict):
    code, status = "automation_limit_reached", 409
    summary = "The project has as many automations as it may have. Archive one first."


class AutomationActive(Conflict):
    code, status = "automation_active", 409
    summary = "An active automation cannot be changed, but for its name. Pause it first."


class AutomationArchived(Conflict):
    code, status = "automation_archived", 409
    summary = "This automation is archived. Create a new one."


class AutomationChanged(Conflict):
    code, status = "automation_changed", 409
    summary = "Somebody else changed this automation at the same time. Read it, and send the change again."


class AutomationNotActive(Conflict):
    code, status = "automation_not_active", 409
    summary = "This automation is not active. Activate it first."


class StartIsPast(Conflict):
    code, status = "start_is_past", 409
    summary = "The time at which this automation was to start is past. Set another one."


class RunOpen(Conflict):
    code, status = "run_open", 409
    summary = "This subscriber is in a run of the automation. Wait until it is over."


class AlreadyRan(Conflict):
    code, status = "already_ran", 409
    summary = "This subscriber went through the automation as often as it lets them."


class SubscriberNotActive(Conflict):
    code, status = "subscriber_not_active", 409
    summary = "This subscriber is not active on the list, so nothing may be sent to them."
