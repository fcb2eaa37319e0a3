"""What other slices and the routes may do to the audience."""

from newsletter.audience.batch import import_batch
from newsletter.audience.batch import read as read_batch
from newsletter.audience.erase import erase
from newsletter.audience.leaving import (
    mark_bounced,
    mark_complained,
    mark_each_bounced,
    mark_each_complained,
    unsubscribe,
    unsubscribe_by_id,
    unsubscribe_each,
)
from newsletter.audience.lists import create_list, delete_list, get_list, named_list, update_list
from newsletter.audience.single import asked, change, put, subscribe
from newsletter.audience.upsert import Target

__all__ = [
    "Target",
    "asked",
    "change",
    "create_list",
    "delete_list",
    "erase",
    "get_list",
    "import_batch",
    "mark_bounced",
    "mark_complained",
    "mark_each_bounced",
    "mark_each_complained",
    "named_list",
    "put",
    "read_batch",
    "subscribe",
    "unsubscribe",
    "unsubscribe_by_id",
    "unsubscribe_each",
    "update_list",
]
