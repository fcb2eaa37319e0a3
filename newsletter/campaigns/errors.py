"""Why a campaign cannot be changed, launched or sent; each code names what is missing."""

from newsletter.kit.errors import Conflict, NewsletterError


class AlreadySent(Conflict):
    code, status = "already_sent", 409
    summary = "This campaign is being sent or was sent. Create a new one."


class CampaignCancelled(Conflict):
    code, status = "campaign_cancelled", 409
    summary = "This campaign was cancelled. Create a new one."


class CannotChange(Conflict):
    code, status = "cannot_change", 409
    summary = "Only a campaign that has not begun can be changed."


class CannotDelete(Conflict):
    code, status = "cannot_delete", 409
    summary = "Only what is not scheduled and was never sent can be deleted; what was sent is history."


class CannotCancel(Conflict):
    code, status = "cannot_cancel", 409
    summary = "Only a scheduled campaign or one that is being sent can be cancelled."


class CannotPause(Conflict):
    code, status = "cannot_pause", 409
    summary = "Only a campaign that is being sent can be paused."


class CannotResume(Conflict):
    code, status = "cannot_resume", 409
    summary = "Only a paused campaign can be resumed."


class CannotResend(Conflict):
    code, status = "cannot_resend", 409
    summary = "Only a campaign that is sent can send its unknown messages again. Wait until it is over."


class NothingUnknown(Conflict):
    code, status = "nothing_unknown", 409
    summary = "No message of this campaign is unknown: there is nothing to send again."


class SubjectMissing(Conflict):
    code, status = "subject_missing", 409
    summary = "There is no subject. Set one before sending."


class ListGone(Conflict):
    code, status = "list_missing", 409
    summary = "The campaign's list is gone. Choose another with PATCH."


class SegmentGone(Conflict):
    code, status = "segment_missing", 409
    summary = (
        "The campaign's segment is gone. Send the campaign with 'scheduled_at' and then give it another "
        "segment with PATCH, or create a new one."
    )


class CampaignLimitReached(NewsletterError):
    code, status = "campaign_limit_reached", 402
    summary = "Your plan's campaigns are used up. Upgrade to create more."
