"""What a request to ``/v2/`` does to which repository, in the terms of policies."""

from __future__ import annotations

from aiohttp import web

from ecr_emulator.core.authorization import EVERY_REPOSITORY, Access
from ecr_emulator.core.call import Call

# The actions of the API that a noun and a method stand for (ECR user guide, IAM permissions for pushing
# an image). ECR has no deletes, no catalog and no action for the state of an upload.
_ACTIONS = {
    ("uploads", "POST"): "ecr:InitiateLayerUpload",
    ("upload", "GET"): "ecr:UploadLayerPart",
    ("upload", "PATCH"): "ecr:UploadLayerPart",
    ("upload", "PUT"): "ecr:CompleteLayerUpload",
    ("upload", "DELETE"): "ecr:UploadLayerPart",
    ("blob", "GET"): "ecr:GetDownloadUrlForLayer",
    ("blob", "HEAD"): "ecr:BatchCheckLayerAvailability",
    ("blob", "DELETE"): "ecr:BatchDeleteImage",
    ("manifest", "GET"): "ecr:BatchGetImage",
    ("manifest", "HEAD"): "ecr:BatchGetImage",
    ("manifest", "PUT"): "ecr:PutImage",
    ("manifest", "DELETE"): "ecr:BatchDeleteImage",
    ("tags", "GET"): "ecr:ListImages",
    ("referrers", "GET"): "ecr:BatchGetImage",
    ("catalog", "GET"): "ecr:DescribeRepositories",
}


def actions_of(noun: str, request: web.BaseRequest) -> list[str]:
    """Return the actions that a request stands for: each of the steps that it takes at once."""
    actions = [_ACTIONS[noun, request.method]]
    if noun == "uploads" and "digest" in request.query:
        actions += ["ecr:UploadLayerPart", "ecr:CompleteLayerUpload"]
    if noun == "upload" and request.method == "PUT" and request.body_exists:
        actions.insert(0, "ecr:UploadLayerPart")
    return actions


def accesses_of(noun: str, request: web.BaseRequest, call: Call, name: str) -> list[Access]:
    """Return what a request is to be allowed."""
    actions = actions_of(noun, request)
    return [Access(action, call.registry, name or EVERY_REPOSITORY) for action in actions]
