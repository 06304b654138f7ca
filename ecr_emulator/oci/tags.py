"""The list of a repository's tags."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from aiohttp import web

from ecr_emulator.core import errors, images
from ecr_emulator.oci.context import Context

# ECR's page, and the most that may be asked for.
MAX_PAGE = 1000


async def get(context: Context) -> web.Response:
    """Answer with the tags past ``last``, at most ``n``, and a Link to the next page."""
    limit = page_size(context.request)
    last = context.request.query.get("last", "")
    found = await context.emulator.metadata.read(
        images.list_tags, context.call, context.name, last, limit + 1
    )
    page = found[:limit]
    headers = {}
    if len(found) > limit and page:
        headers["Link"] = next_link(f"{context.base}/tags/list", n=limit, last=page[-1])
    return web.json_response({"name": context.name, "tags": page}, headers=headers)


def page_size(request: web.BaseRequest) -> int:
    """Return the ``n`` of a list. Raises InvalidParameterException as ECR does past 1000."""
    text = request.query.get("n", str(MAX_PAGE))
    if not re.fullmatch(r"\d{1,9}", text):
        raise errors.InvalidParameterException(
            "Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must be a number'"
        )
    if int(text) > MAX_PAGE:
        raise errors.InvalidParameterException(
            "Invalid parameter at 'maxResults' failed to satisfy constraint: "
            f"'Member must have value less than or equal to {MAX_PAGE}'"
        )
    return int(text)


def next_link(path: str, /, **query: str | int) -> str:
    """Return the Link header of a page that is followed by the one at a path with a query."""
    return f'<{path}?{urlencode(query)}>; rel="next"'
