"""``/subscribers/{id}/export``: what is held of a person, for who asks."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from newsletter.accounts.project import Principal
from newsletter.kit import ids
from newsletter.kit.db import Database
from newsletter.kit.schema import Data
from newsletter.privacy import held
from newsletter.privacy.schemas import HeldPerson


class PersonController(Controller):
    path = "/subscribers"
    tags = ("Subscribers",)

    @get(
        "/{subscriber:str}/export",
        operation_id="export_subscriber",
        summary="Export all that is held of a person",
        description="Of the subscriber's address in the whole project: its rows on every list, consents, "
        "suppressions, messages and events, in one JSON document. `POST /subscribers/{id}/erase` is its "
        "counterpart.",
        opt={"scope": "subscribers:read"},
    )
    async def export(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal], subscriber: FromPath[str]
    ) -> Data[HeldPerson]:
        principal.require_every_list()
        whom = ids.in_path("sub", subscriber)
        async with db.read() as session:
            return Data(data=await held.export(session, principal.project, whom))
