"""``/brand-voice`` and its versions."""

from litestar import Controller, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from newsletter.accounts.project import Principal
from newsletter.copywriting import queries, service
from newsletter.copywriting.models import VoiceCardRow
from newsletter.copywriting.schemas import VoiceBody, VoiceOut
from newsletter.kit.db import Database
from newsletter.kit.schema import Data, Page


class BrandVoiceController(Controller):
    path = "/brand-voice"
    tags = ("Brand voice",)

    @get(
        operation_id="get_brand_voice",
        summary="Read the brand voice",
        description="Version 0 and empty while no card was ever written.",
        opt={"scope": "voice:read"},
    )
    async def read(
        self, db: NamedDependency[Database], principal: NamedDependency[Principal]
    ) -> Data[VoiceOut]:
        async with db.read() as session:
            row = await queries.newest_card(session, principal.project)
        return Data(data=_out(row) if row else VoiceOut(version=0, created_at=None))

    @put(
        operation_id="set_brand_voice",
        summary="Write a new version of the brand voice",
        description="Replaces the whole card. A card that says the same as the current one makes no version.",
        opt={"scope": "voice:write"},
    )
    async def write(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        data: JSONBody[VoiceBody],
    ) -> Data[VoiceOut]:
        async with db.unit_of_work() as session:
            return Data(data=_out(await service.set_voice(session, principal.project, data)))

    @get(
        "/versions",
        operation_id="list_brand_voice_versions",
        summary="List the versions of the brand voice, the newest first",
        opt={"scope": "voice:read"},
    )
    async def versions(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        page: FromQuery[int] = 1,
        per_page: FromQuery[int] = 20,
    ) -> Page[VoiceOut]:
        async with db.read() as session:
            rows, meta = await queries.cards(session, principal.project, page, per_page)
        return Page(data=[_out(row) for row in rows], meta=meta)

    @get(
        "/versions/{version:str}",
        operation_id="get_brand_voice_version",
        summary="Read one version of the brand voice",
        opt={"scope": "voice:read"},
    )
    async def version(
        self,
        db: NamedDependency[Database],
        principal: NamedDependency[Principal],
        version: FromPath[str],
    ) -> Data[VoiceOut]:
        async with db.read() as session:
            return Data(data=_out(await queries.card(session, principal.project, _number(version))))


def _number(version: str) -> int:
    """0, which is no version, for what is no number."""
    return int(version) if version.isascii() and version.isdecimal() and len(version) < 10 else 0


def _out(row: VoiceCardRow) -> VoiceOut:
    return VoiceOut.model_validate({**row.card, "version": row.version, "created_at": row.created_at})
