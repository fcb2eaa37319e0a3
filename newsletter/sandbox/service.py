"""What may be done with the inbox of a test project."""

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from newsletter.accounts.project import Project
from newsletter.kit.errors import Conflict
from newsletter.sandbox.models import SandboxMessage


class NotATestProject(Conflict):
    code, status = "not_a_test_project", 409
    summary = "Only test projects have a sandbox; this project's mail is really sent. Use a key nl_test_…"


def require_sandbox(project: Project) -> None:
    """A live project has no inbox: an empty page would say that nothing was sent."""
    if not project.is_test:
        raise NotATestProject()


async def clear(session: AsyncSession, project: Project) -> None:
    """Deletes every mail of the inbox; what campaigns report stays as it is."""
    await session.execute(delete(SandboxMessage).where(SandboxMessage.project_id == project.id))
