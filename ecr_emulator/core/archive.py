"""The archive: images that are kept but can't be pulled until they are restored.

Archiving is done at once; restoring takes time, and a task of the engine ``archive`` ends it. (ECR user
guide, "Archiving an image" and "Restoring an image".)
"""

from __future__ import annotations

from msgspec.structs import replace

from ecr_emulator.core import errors, events, images, pushes, repositories
from ecr_emulator.core.call import Call
from ecr_emulator.core.images import ImageId
from ecr_emulator.core.pushes import Push
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task

ENGINE = "archive"
# Seconds within which, the user guide says, an image is restored.
RESTORATION_TIME = 20 * 60.0


def update_storage_class(
    tx: Transaction, call: Call, repository_name: str, image_id: ImageId, target: str
) -> Image:
    """Archive an image (``target`` ARCHIVE), or begin to restore it (STANDARD); return it as it is then.

    Raises RepositoryNotFound-, ImageNotFound-, InvalidParameterException, and ImageStorageClassUpdate-
    NotSupportedException for an image that is there already or on its way, and for archiving one
    that an index names which is not archived itself.
    """
    repository = repositories.find(tx, call, repository_name)
    image = images.resolve(tx, repository, image_id)
    needed = "ACTIVE" if target == "ARCHIVE" else "ARCHIVED"
    if image.status != needed:
        raise errors.ImageStorageClassUpdateNotSupportedException(
            f"The image with imageId {image_id} in the repository with name '{repository.name}' in the "
            f"registry with id '{repository.account}' can't be moved to the storage class {target} while its "
            f"status is {image.status}"
        )
    if target == "STANDARD":
        tx.images.begin_restoring(image.id)
        payload = {
            "repositoryId": repository.id,
            "imageDigest": image.digest,
            "archivedAt": image.last_archived_at,
        }
        tx.tasks.add(ENGINE, repository.account, repository.region, payload, call.now + RESTORATION_TIME)
        return replace(image, status="ACTIVATING")
    (history,) = tx.images.histories(repository.id, [image.digest])
    if history.referenced:
        raise errors.ImageStorageClassUpdateNotSupportedException(
            f"The image with imageId {image_id} in the repository with name '{repository.name}' in the "
            f"registry with id '{repository.account}' is referenced by a manifest list, which has to be "
            "archived first"
        )
    archived = images.archive(tx, image, call.now)
    events.on_storage_class(tx, repository, archived, call.now)
    return archived


def finish_restoring(tx: Transaction, call: Call, task: Task) -> None:
    """End a restoration. The image is then like one that was just pushed, to replication and scans too.

    Nothing is left to do for an image that went away meanwhile, or was pushed again.
    """
    payload = task.payload
    tx.tasks.delete(task.id)
    repository = tx.repositories.by_id(payload["repositoryId"])
    image = repository and tx.images.by_digest(repository.id, payload["imageDigest"])
    if not repository or not image:
        return
    # The time tells this stay in the archive from a later one.
    if image.status != "ACTIVATING" or image.last_archived_at != payload["archivedAt"]:
        return
    restored = images.restore(tx, image, call.now)
    for number, tag in enumerate(tx.tags.of_image(image.id) or [None]):
        pushes.announce(tx, call, Push(repository, restored, tag, number == 0, "archive"))
    events.on_storage_class(tx, repository, restored, call.now)
