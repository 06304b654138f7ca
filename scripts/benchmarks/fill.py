"""Fill a store of the emulator with images: python fill.py STORE REPOSITORIES IMAGES_OF_EACH.

The store is a data folder, or the URL of a PostgreSQL database.

Run by the interpreter and in the work tree of the emulator that is measured, before it is started. Rows
are written as pushes write them; only the bytes of the layers, which no metadata call reads, are not there.
An image has six blobs: four layers that all images have, a layer and a config of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path

from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.repositories import Repository
from ecr_emulator.metadata.sqlite import SqliteMetadata
from ecr_emulator.metadata.store import MetadataStore, Transaction

BATCH = 2000
NOW = 1767225600.0  # 2026-01-01
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


async def main(store: str, repositories: int, images: int) -> None:
    """Write repositories fill/000, fill/001 and so on, each with images tagged image-0, image-1 and so on."""
    metadata = _open(store)
    try:
        for number in range(repositories):
            repository = await metadata.write(_create, f"fill/{number:03}")
            for first in range(0, images, BATCH):
                await metadata.write(_fill, repository, first, min(first + BATCH, images))
    finally:
        await metadata.close()


def _open(store: str) -> MetadataStore:
    if store.startswith("postgresql://"):
        # What is measured may have no PostgreSQL, and then not its client.
        from ecr_emulator.metadata.postgresql import PostgresMetadata  # noqa: PLC0415

        return PostgresMetadata(store)
    Path(store).mkdir(parents=True, exist_ok=True)
    return SqliteMetadata(Path(store) / "metadata.sqlite", durable=False)


def _create(tx: Transaction, name: str) -> Repository:
    repository = create(tx, name)
    for layer in range(4):
        _add_layer(tx, repository, _digest(f"layer {layer}"))
    return repository


def create(tx: Transaction, name: str) -> Repository:
    """Write a repository that has nothing."""
    return tx.repositories.insert(
        account="000000000000",
        region="us-east-1",
        name=name,
        created_at=NOW,
        tag_mutability="MUTABLE",
        tag_exclusions=(),
        scan_on_push=False,
        encryption_type="AES256",
        kms_key=None,
    )


def _fill(tx: Transaction, repository: Repository, first: int, end: int) -> None:
    for number in range(first, end):
        config = _digest(f"config {repository.name} {number}")
        own = _digest(f"own layer {repository.name} {number}")
        layers = [*(_digest(f"layer {layer}") for layer in range(4)), own]
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": config, "size": 1000},
            "layers": [{"mediaType": LAYER_TYPE, "digest": layer, "size": 1000} for layer in layers],
        }
        manifest = json.dumps(document).encode()
        image = Image(
            id=0,
            repository_id=repository.id,
            digest=f"sha256:{hashlib.sha256(manifest).hexdigest()}",
            media_type=MANIFEST_TYPE,
            artifact_type=CONFIG_TYPE,
            config_media_type=CONFIG_TYPE,
            subject_digest=None,
            annotations=None,
            manifest_size=len(manifest),
            size=6000,
            pushed_at=NOW + number,
            last_pulled_at=None,
        )
        for digest in (config, own):
            _add_layer(tx, repository, digest)
        image_id = tx.images.insert(image, manifest)
        tx.layers.name(repository.id, {config: CONFIG_TYPE, **dict.fromkeys(layers, LAYER_TYPE)})
        tx.tags.put(repository.id, f"image-{number}", image_id)


def _add_layer(tx: Transaction, repository: Repository, digest: str) -> None:
    blob = tx.blobs.get(digest, "")
    name = f"sha256/{digest[7:9]}/{digest[7:]}.{int(NOW)}-0123456789abcdef"
    blob_id = blob.id if blob else tx.blobs.insert(digest, "", name, 1000)
    tx.layers.insert(repository.id, digest, blob_id, NOW)


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
