"""The list of repositories, which ECR offers only through its API."""

from __future__ import annotations

from aiohttp import web

from ecr_emulator.core import repositories
from ecr_emulator.oci.context import Context
from ecr_emulator.oci.tags import next_link, page_size


async def get(context: Context) -> web.Response:
    """Answer with a page of the registry's repositories, where the setting allows it."""
    context.require_setting(context.emulator.settings.oci_catalog)
    limit = page_size(context.request)
    last = context.request.query.get("last", "")
    found = await context.emulator.metadata.peek(repositories.describe, context.call, None, last, limit + 1)
    names = [repository.name for repository in found[:limit]]
    headers = {}
    if len(found) > limit and names:
        headers["Link"] = next_link("/v2/_catalog", n=limit, last=names[-1])
    return web.json_response({"repositories": names}, headers=headers)
