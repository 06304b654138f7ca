"""Running lifecycle policies: what happens between two of an evaluation's transactions."""

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from ecr_emulator.core import lifecycle_previews, lifecycle_runs
from ecr_emulator.core.clock import Clock, offset_of
from ecr_emulator.engines import lifecycle as engine
from ecr_emulator.events.trail import Trail
from ecr_emulator.metadata.images import Image
from ecr_emulator.metadata.sqlite import SqliteMetadata

NOW = 1_800_000_000.0
DAY = 24 * 3600.0


def keep(count):
    """The text of a policy that keeps the newest images."""
    return json.dumps(
        {
            "rules": [
                {
                    "rulePriority": 1,
                    "selection": {
                        "tagStatus": "any",
                        "countType": "imageCountMoreThan",
                        "countNumber": count,
                    },
                    "action": {"type": "expire"},
                }
            ]
        }
    )


class Metadata(SqliteMetadata):
    """A store that lets something happen before the Nth write."""

    before = None

    async def write(self, function, *args, **kwargs):
        """Write, or first do what was planned for this write."""
        if self.before is not None and function.__name__ != "happening":
            number, happening = self.before
            self.before = (number - 1, happening) if number > 1 else None
            if number == 1:
                happening.__name__ = "happening"
                await super().write(happening)
        return await super().write(function, *args, **kwargs)


@dataclass
class Server:
    """As much of a server as an evaluation needs."""

    metadata: Metadata
    clock: Clock
    trail: Trail = field(default_factory=Trail)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A store whose evaluations act on two images at a time."""
    monkeypatch.setattr(lifecycle_runs, "BATCH", 2)
    monkeypatch.setattr(lifecycle_previews, "BATCH", 2)
    metadata = Metadata(tmp_path / "metadata.sqlite", durable=False)
    clock = Clock(offset_of(NOW))
    yield Server(metadata, clock)
    asyncio.run(metadata.close())


def write(server, function, *args):
    return asyncio.run(server.metadata.write(function, *args))


def add_repository(tx, name, text, count=6):
    """Add a repository with images 0, 1, 2, … of which 0 is the oldest; return its id."""
    repository = tx.repositories.insert(
        account="000000000000",
        region="us-east-1",
        name=name,
        created_at=0,
        tag_mutability="MUTABLE",
        tag_exclusions=(),
        scan_on_push=False,
        encryption_type="AES256",
        kms_key=None,
    )
    for number in range(count):
        tx.images.insert(_image(repository.id, number), b"{}")
    tx.repositories.set_lifecycle_policy(repository.id, text, NOW + DAY)
    return repository.id


def _image(repository_id, number, **more):
    values = {
        "id": 0,
        "repository_id": repository_id,
        "digest": f"sha256:{number:064}",
        "media_type": "application/vnd.oci.image.manifest.v1+json",
        "artifact_type": None,
        "config_media_type": None,
        "subject_digest": None,
        "annotations": None,
        "manifest_size": 2,
        "size": 2,
        "pushed_at": NOW - 10 * DAY + number,
        "last_pulled_at": None,
    }
    return Image(**values | more)


def numbers(server, repository_id):
    """The images that are left."""
    histories = asyncio.run(server.metadata.read(lambda tx: tx.images.histories(repository_id)))
    return sorted(int(history.digest.removeprefix("sha256:")) for history in histories)


def repository_of(server, repository_id):
    return asyncio.run(server.metadata.read(lambda tx: tx.repositories.by_id(repository_id)))


def test_an_evaluation_acts_in_small_transactions_oldest_first(server):
    repository_id = write(server, add_repository, "app", keep(1))
    left = []
    server.metadata.before = (3, lambda tx: left.extend(tx.images.histories(repository_id)))
    asyncio.run(lifecycle_runs.run(server, repository_id, NOW))
    assert len(left) == 2
    assert numbers(server, repository_id) == [5]
    repository = repository_of(server, repository_id)
    assert (repository.lifecycle_evaluated_at, repository.lifecycle_due_at) == (NOW, NOW + DAY)


@pytest.mark.parametrize("text", [keep(5), None])
def test_a_policy_that_changes_ends_the_evaluation(server, text):
    repository_id = write(server, add_repository, "app", keep(1))

    def change(tx):
        if text is None:
            tx.repositories.delete_lifecycle_policy(repository_id)
        else:
            tx.repositories.set_lifecycle_policy(repository_id, text, NOW + DAY)

    server.metadata.before = (2, change)
    asyncio.run(lifecycle_runs.run(server, repository_id, NOW))
    assert numbers(server, repository_id) == [2, 3, 4, 5]
    repository = repository_of(server, repository_id)
    assert repository.lifecycle_evaluated_at is None
    assert repository.lifecycle_due_at == (None if text is None else NOW + DAY)


def test_a_policy_that_changes_before_the_end_is_yet_to_be_evaluated(server):
    repository_id = write(server, add_repository, "app", keep(1), 3)
    server.metadata.before = (
        2,
        lambda tx: tx.repositories.set_lifecycle_policy(repository_id, keep(2), NOW + DAY),
    )
    asyncio.run(lifecycle_runs.run(server, repository_id, NOW))
    assert repository_of(server, repository_id).lifecycle_evaluated_at is None


def test_a_repository_that_goes_ends_the_evaluation(server):
    repository_id = write(server, add_repository, "app", keep(1))
    server.metadata.before = (2, lambda tx: tx.repositories.delete(repository_id))
    asyncio.run(lifecycle_runs.run(server, repository_id, NOW))
    assert repository_of(server, repository_id) is None


def _tag(tx, repository_id, image_id):
    tx.tags.put(repository_id, "keep", image_id)


def _pull(tx, repository_id, image_id):
    tx.images.set_pulled(image_id, NOW)


def _name_in_index(tx, repository_id, image_id):
    (child,) = [entry for entry in tx.images.histories(repository_id) if entry.id == image_id]
    index = tx.images.insert(_image(repository_id, 99, pushed_at=NOW), b"{}")
    tx.images.add_children(index, repository_id, {child.digest})


@pytest.mark.parametrize("change", [_tag, _pull, _name_in_index])
def test_an_image_that_changed_is_left_to_the_next_evaluation(server, change):
    repository_id = write(server, add_repository, "app", keep(1))
    third = write(server, lambda tx: tx.images.by_digest(repository_id, f"sha256:{2:064}")).id
    server.metadata.before = (2, lambda tx: change(tx, repository_id, third))
    asyncio.run(lifecycle_runs.run(server, repository_id, NOW))
    assert [number for number in numbers(server, repository_id) if number < 99] == [2, 5]


def test_an_evaluation_that_a_crash_ended_goes_on(server):
    repository_id = write(server, add_repository, "app", keep(1))
    server.metadata.before = (2, lambda _tx: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(lifecycle_runs.run(server, repository_id, NOW))
    assert numbers(server, repository_id) == [2, 3, 4, 5]
    assert repository_of(server, repository_id).lifecycle_due_at == NOW + DAY
    asyncio.run(lifecycle_runs.run(server, repository_id, NOW + DAY))
    assert numbers(server, repository_id) == [5]


def test_one_policy_does_not_hold_up_the_others(server):
    broken = write(server, add_repository, "broken", "not a policy")
    sound = write(server, add_repository, "sound", keep(1))
    assert asyncio.run(engine.run_now(server)) == 2
    assert numbers(server, broken) == [0, 1, 2, 3, 4, 5]
    assert numbers(server, sound) == [5]
    assert repository_of(server, broken).lifecycle_due_at == pytest.approx(NOW + 3600, abs=60)


def test_a_preview_that_a_crash_ended_starts_afresh(server):
    repository_id = write(server, add_repository, "app", keep(1))
    write(server, lambda tx: tx.lifecycle_previews.start(repository_id, keep(2), NOW))
    # Clearing, two of four results, and then nothing more.
    server.metadata.before = (3, lambda _tx: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(lifecycle_previews._complete(server, repository_id, NOW))
    asyncio.run(lifecycle_previews.complete_all(server, NOW))
    preview, results = write(
        server,
        lambda tx: (
            tx.lifecycle_previews.get(repository_id),
            tx.lifecycle_previews.page(repository_id, "ANY", 0, 100),
        ),
    )
    assert (preview.status, preview.ended_at) == ("COMPLETE", NOW)
    assert [(result.position, int(result.digest[7:])) for result in results] == [
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 3),
    ]


def test_a_preview_leaves_out_what_goes_meanwhile(server):
    repository_id = write(server, add_repository, "app", keep(1))
    write(server, lambda tx: tx.lifecycle_previews.start(repository_id, keep(2), NOW))

    def delete_one(tx):
        tx.images.delete(tx.images.by_digest(repository_id, f"sha256:{1:064}").id)

    server.metadata.before = (2, delete_one)
    asyncio.run(lifecycle_previews.complete_all(server, NOW))
    counts = write(server, lambda tx: tx.lifecycle_previews.counts(repository_id))
    assert counts == {"EXPIRE": 3}


def test_a_preview_of_a_repository_that_goes_is_none(server):
    repository_id = write(server, add_repository, "app", keep(1))
    write(server, lambda tx: tx.lifecycle_previews.start(repository_id, keep(2), NOW))
    server.metadata.before = (2, lambda tx: tx.repositories.delete(repository_id))
    assert asyncio.run(lifecycle_previews.complete_all(server, NOW)) == 1
    assert write(server, lambda tx: tx.lifecycle_previews.get(repository_id)) is None
    assert asyncio.run(lifecycle_previews.complete_all(server, NOW)) == 0


def test_what_is_due_is_found_by_index(server):
    def plan(tx):
        rows = tx._database.all(
            "EXPLAIN QUERY PLAN SELECT id FROM repositories WHERE lifecycle_due_at <= :now"
            " ORDER BY lifecycle_due_at, id",
            now=NOW,
        )
        return [row["detail"] for row in rows]

    (step,) = write(server, plan)
    assert "USING COVERING INDEX repositories_by_lifecycle_due" in step
