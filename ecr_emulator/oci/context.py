"""What a handler of the data plane is given."""

from __future__ import annotations

from aiohttp import web
from msgspec import Struct

from ecr_emulator.core.authorization import Guard
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.oci.errors import OciError

# What all answers have.
API_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}


class Context(Struct, frozen=True):
    """One request to ``/v2/NAME/…``: ``reference`` is what the path ends with after the noun."""

    emulator: Emulator
    request: web.BaseRequest
    call: Call
    name: str
    reference: str
    guard: Guard

    @property
    def base(self) -> str:
        """The path of the repository."""
        return f"/v2/{self.name}"

    def require_setting(self, setting: str) -> None:
        """Refuse, as ECR does, what only a setting that is ``on`` offers."""
        if setting != "on":
            raise OciError(405, "UNSUPPORTED", "The operation is unsupported.")
