"""Each noun's queries, on every metadata store."""

from __future__ import annotations

import inspect
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ecr_emulator.metadata.images import ImageFilter, ReferrerFilter
from ecr_emulator.metadata.lifecycle_previews import NewResult, Preview, Result
from ecr_emulator.metadata.pull_through import PullThroughRule, UpstreamTag
from ecr_emulator.metadata.replication import ReplicationState
from ecr_emulator.metadata.repositories import RepositoryPolicy
from ecr_emulator.metadata.scans import Scan, StoredFinding
from ecr_emulator.metadata.signing import SigningStatus
from ecr_emulator.metadata.sqlite import SqliteDatabase, migrate
from ecr_emulator.metadata.store import Transaction
from ecr_emulator.metadata.tasks import Task
from ecr_emulator.metadata.templates import CreationTemplate
from ecr_emulator.metadata.uploads import Upload
from tests.metadata.conftest import ACCOUNT, NOW, REGION, Store, digest, new_image, new_repository

HERE = (ACCOUNT, REGION)
ELSEWHERE = (ACCOUNT, "eu-west-1")


def test_every_query_is_run_on_every_store() -> None:
    """By the names that stand in these modules: a query that is added has to be tested here, too."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    called = set(re.findall(r"\btx\.(\w+)\.(\w+)\(", text))
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    nouns = vars(Transaction(SqliteDatabase(connection)))
    connection.close()
    queries = {
        (noun, name)
        for noun, value in nouns.items()
        if not noun.startswith("_")
        for name, _ in inspect.getmembers(value, inspect.ismethod)
        if not name.startswith("_")
    }
    assert len(queries) > 90
    assert sorted(queries - called) == []


# -------------------------------------------------------------------------------- repositories


def test_repositories_are_found_by_name_and_id(store: Store) -> None:
    made = store.write(new_repository)
    assert (made.account, made.region, made.name, made.tag_exclusions) == (*HERE, "app", ("release*",))
    assert store.read(lambda tx: tx.repositories.get(*HERE, "app")) == made
    assert store.read(lambda tx: tx.repositories.by_id(made.id)) == made
    assert store.read(lambda tx: tx.repositories.get(*ELSEWHERE, "app")) is None
    assert store.read(lambda tx: tx.repositories.by_id(made.id + 1)) is None
    store.write(lambda tx: tx.repositories.delete(made.id))
    assert store.read(lambda tx: tx.repositories.get(*HERE, "app")) is None


def test_repositories_come_in_pages_and_are_counted(store: Store) -> None:
    assert store.read(lambda tx: tx.repositories.last_id()) == 0
    for name in ("c", "a", "b"):
        store.write(new_repository, name)
    last_made = store.write(new_repository, "b", ACCOUNT, "eu-west-1")
    assert store.read(lambda tx: tx.repositories.last_id()) == last_made.id
    page = store.read(lambda tx: tx.repositories.page(*HERE, "a", 10))
    assert [repository.name for repository in page] == ["b", "c"]
    assert len(store.read(lambda tx: tx.repositories.page(*HERE, "", 2))) == 2
    assert [store.read(lambda tx, n=n: tx.repositories.are_at_least(*HERE, n)) for n in (1, 3, 4)] == [
        True,
        True,
        False,
    ]
    registries, last = [], ("", "")
    while (found := store.read(lambda tx, last=last: tx.repositories.next_registry(*last))) is not None:
        registries.append(last := found)
    assert registries == [ELSEWHERE, HERE]
    everywhere = store.read(lambda tx: tx.repositories.scan(0, 9))
    assert [(found.region, found.name) for found in everywhere] == [
        (REGION, "c"),
        (REGION, "a"),
        (REGION, "b"),
        ("eu-west-1", "b"),
    ]
    assert store.read(lambda tx: tx.repositories.scan(everywhere[1].id, 1)) == everywhere[2:3]


def test_what_is_set_on_a_repository_is_there(store: Store) -> None:
    made = store.write(new_repository)

    def change(tx: Transaction) -> None:
        tx.repositories.set_mutability(made.id, "IMMUTABLE", ["a*", "b"])
        tx.repositories.set_scan_on_push(made.id, scan_on_push=False)
        tx.repositories.set_policy(made.id, "{}")

    store.write(change)
    assert store.read(lambda tx: tx.repositories.by_id(made.id)) == replace(
        made, tag_mutability="IMMUTABLE", tag_exclusions=("a*", "b"), scan_on_push=False, policy_text="{}"
    )
    assert store.read(lambda tx: tx.repositories.policy(*HERE, "app")) == RepositoryPolicy(made.id, "{}")
    store.write(lambda tx: tx.repositories.set_policy(made.id, None))
    assert store.read(lambda tx: tx.repositories.policy(*HERE, "app")) == RepositoryPolicy(made.id, None)
    assert store.read(lambda tx: tx.repositories.policy(*HERE, "other")) is None


def test_lifecycle_policies_are_due_in_turn(store: Store) -> None:
    one, other = store.write(new_repository, "one"), store.write(new_repository, "other")

    def due(now: float) -> list[int]:
        return store.read(lambda tx: tx.repositories.lifecycle_due(now))

    store.write(lambda tx: tx.repositories.set_lifecycle_policy(one.id, "{}", 20.0))
    store.write(lambda tx: tx.repositories.set_lifecycle_policy(other.id, "{}", 10.0))
    assert (due(9.9), due(10.0), due(20.0)) == ([], [other.id], [other.id, one.id])
    # Setting it again does not put it off, nor does it bring the past back.
    store.write(lambda tx: tx.repositories.set_lifecycle_policy(one.id, "[]", 99.0))
    assert due(20.0) == [other.id, one.id]
    store.write(lambda tx: tx.repositories.set_lifecycle_policy(one.id, "[]", 5.0))
    assert due(5.0) == [one.id]
    store.write(lambda tx: tx.repositories.set_lifecycle_evaluated(one.id, 6.0, 30.0))
    store.write(lambda tx: tx.repositories.postpone_lifecycle(other.id, 40.0))
    found = store.read(lambda tx: tx.repositories.by_id(one.id))
    assert found is not None
    assert (found.lifecycle_policy_text, found.lifecycle_evaluated_at, found.lifecycle_due_at) == (
        "[]",
        6.0,
        30.0,
    )
    assert (due(29.0), due(30.0), due(40.0)) == ([], [one.id], [one.id, other.id])
    store.write(lambda tx: tx.repositories.delete_lifecycle_policy(one.id))
    # There is nothing to put off any more.
    store.write(lambda tx: tx.repositories.postpone_lifecycle(one.id, 1.0))
    assert due(40.0) == [other.id]


def test_resource_tags(store: Store) -> None:
    made = store.write(new_repository)
    store.write(lambda tx: tx.repositories.put_tags(made.id, {"b": "1", "a": "2", "c": ""}))
    store.write(lambda tx: tx.repositories.put_tags(made.id, {"b": "3"}))
    store.write(lambda tx: tx.repositories.delete_tags(made.id, ["c", "never"]))
    assert list(store.read(lambda tx: tx.repositories.tags(made.id)).items()) == [("a", "2"), ("b", "3")]


# -------------------------------------------------------------------------------- images and tags


def test_images_are_found_by_id_digest_and_tag(store: Store) -> None:
    repository = store.write(new_repository)
    described = {
        "annotations": json.dumps({"key": "value\u0000é"}),
        "artifact_type": "a",
        "config_media_type": "c",
    }
    image = store.write(new_image, repository, 1, **described, subject_digest=digest(2), last_pulled_at=NOW)
    store.write(lambda tx: tx.tags.put(repository.id, "v1", image.id))
    assert {name: getattr(image, name) for name in described} == described
    assert image.status == "ACTIVE"
    assert store.read(lambda tx: tx.images.by_id(image.id)) == image
    assert store.read(lambda tx: tx.images.by_digest(repository.id, digest(1))) == image
    assert store.read(lambda tx: tx.images.by_tag(repository.id, "v1")) == image
    assert store.read(lambda tx: tx.images.by_digest(repository.id, digest(2))) is None
    assert store.read(lambda tx: tx.images.by_tag(repository.id, "v2")) is None
    assert store.read(lambda tx: tx.images.manifest(image.id)) == b"manifest 1"
    with pytest.raises(LookupError):
        store.read(lambda tx: tx.images.manifest(image.id + 1))


def test_images_are_counted_and_go_with_all_that_is_theirs(store: Store) -> None:
    repository = store.write(new_repository)
    images = [store.write(new_image, repository, seed) for seed in range(3)]
    store.write(lambda tx: tx.tags.put(repository.id, "v1", images[0].id))
    store.write(lambda tx: tx.images.delete(images[0].id))
    found = store.read(lambda tx: tx.repositories.by_id(repository.id))
    assert found is not None
    assert found.image_count == 2
    assert store.read(lambda tx: tx.tags.image_id(repository.id, "v1")) is None
    assert store.read(lambda tx: tx.images.exist(repository.id)) is True
    assert store.read(lambda tx: tx.images.count(repository.id)) == 2
    store.write(lambda tx: tx.repositories.delete(repository.id))
    assert store.read(lambda tx: tx.images.exist(repository.id)) is False
    assert store.read(lambda tx: tx.images.count(repository.id)) == 0
    assert store.read(lambda tx: tx.images.by_id(images[1].id)) is None


def test_images_and_identifiers_come_in_pages(store: Store) -> None:
    repository = store.write(new_repository)
    one, two, three = (store.write(new_image, repository, seed) for seed in (3, 2, 1))

    def tag(tx: Transaction) -> None:
        for name in ("b", "B", "a"):
            tx.tags.put(repository.id, name, one.id)
        tx.tags.put(repository.id, "c", three.id)
        tx.images.archive(three.id, NOW)

    store.write(tag)

    def page(*filter_: str, after: int = 0, limit: int = 10) -> list[int]:
        found = store.read(lambda tx: tx.images.page(repository.id, ImageFilter(*filter_), after, limit))
        return [image.id for image in found]

    assert page() == [one.id, two.id, three.id]
    assert page(after=one.id, limit=1) == [two.id]
    assert page("TAGGED") == [one.id, three.id]
    assert page("UNTAGGED") == [two.id]
    assert page("ANY", "ARCHIVED") == [three.id]

    other = store.write(lambda tx: new_image(tx, new_repository(tx, "other")))
    everywhere = store.read(lambda tx: tx.images.scan(0, 9))
    assert [image.id for image in everywhere] == [one.id, two.id, three.id, other.id]
    assert store.read(lambda tx: tx.images.scan(one.id, 1)) == [two]

    def identifiers(*filter_: str, after: tuple[int, str] = (0, ""), limit: int = 10) -> list[Any]:
        wanted = ImageFilter(*filter_)
        return store.read(lambda tx: tx.images.page_of_identifiers(repository.id, wanted, after, limit))

    everything = [
        (one.id, one.digest, "B"),
        (one.id, one.digest, "a"),
        (one.id, one.digest, "b"),
        (two.id, two.digest, None),
        (three.id, three.digest, "c"),
    ]
    assert identifiers() == everything
    for position, (image_id, _, name) in enumerate(everything):
        assert identifiers(after=(image_id, name or ""), limit=2) == everything[position + 1 : position + 3]
    assert identifiers("TAGGED") == [entry for entry in everything if entry[2]]
    assert identifiers("UNTAGGED") == [everything[3]]
    assert identifiers("ANY", "ACTIVE") == everything[:4]


def test_children_of_indexes(store: Store) -> None:
    repository = store.write(new_repository)
    image, child = store.write(new_image, repository, 1), store.write(new_image, repository, 2, size=70)
    index = store.write(new_image, repository, 3, size=0)

    store.write(lambda tx: tx.images.add_children(index.id, repository.id, [child.digest, digest("x")]))
    listed = sorted([child.digest, digest("x")])
    assert store.read(lambda tx: tx.images.children(repository.id, index.id)) == listed
    assert store.read(lambda tx: tx.images.children(repository.id + 1, index.id)) == []
    assert store.read(lambda tx: tx.images.children(repository.id, image.id)) == []
    assert store.read(lambda tx: tx.images.referring_indexes(repository.id, child.digest)) == [index.digest]
    assert store.read(lambda tx: tx.images.referring_indexes(repository.id, image.digest)) == []
    assert store.read(lambda tx: tx.images.present(repository.id, [child.digest, digest("x")])) == {
        child.digest: 70
    }
    assert store.read(lambda tx: tx.images.missing_children(index.id)) == [digest("x")]
    assert store.write(lambda tx: tx.images.size_as_index(index.id)) == 70
    found = store.read(lambda tx: tx.images.by_id(index.id))
    assert found is not None
    assert found.size == 70
    assert store.write(lambda tx: tx.images.size_as_index(image.id)) == 0


def test_referrers_by_type_and_status(store: Store) -> None:
    repository = store.write(new_repository)
    subject = digest("subject")
    kinds = ["sbom", "signature", "sbom"]
    referrers = [
        store.write(new_image, repository, seed, subject_digest=subject, artifact_type=kind)
        for seed, kind in enumerate(kinds)
    ]
    store.write(new_image, repository, "other")
    store.write(lambda tx: tx.images.archive(referrers[2].id, NOW))

    def found(*filter_: Any, after: int = 0, limit: int = 10) -> list[int]:
        wanted = ReferrerFilter(*filter_)
        images = store.read(lambda tx: tx.images.referrers(repository.id, subject, wanted, after, limit))
        return [image.id for image in images]

    ids = [image.id for image in referrers]
    assert found() == ids[:2]
    assert found(None, "ANY") == ids
    assert found(("sbom",), "ANY") == [ids[0], ids[2]]
    assert found(("sbom", "signature", "other")) == ids[:2]
    assert found((), "ANY") == []
    assert found(None, "ANY", after=ids[0], limit=1) == [ids[1]]


def test_the_archive_and_pull_times(store: Store) -> None:
    repository = store.write(new_repository)
    image = store.write(new_image, repository)

    def state() -> tuple[str, float | None, float | None, float | None]:
        found = store.read(lambda tx: tx.images.by_id(image.id))
        assert found is not None
        return found.status, found.last_archived_at, found.last_activated_at, found.last_pulled_at

    store.write(lambda tx: tx.images.set_pulled(image.id, 1.5))
    store.write(lambda tx: tx.images.archive(image.id, 2.5))
    assert state() == ("ARCHIVED", 2.5, None, 1.5)
    store.write(lambda tx: tx.images.begin_restoring(image.id))
    assert state() == ("ACTIVATING", 2.5, None, 1.5)
    store.write(lambda tx: tx.images.restore(image.id, 3.5))
    assert state() == ("ACTIVE", 2.5, 3.5, 1.5)
    store.write(lambda tx: tx.images.set_history(image.id, 4.5, "ARCHIVED", 5.5, None))
    assert state() == ("ARCHIVED", 5.5, None, 4.5)
    store.write(lambda tx: tx.images.set_history(image.id, None, "ACTIVE", None, 6.5))
    assert state() == ("ACTIVE", None, 6.5, None)


def test_histories_tell_what_an_index_keeps(store: Store) -> None:
    repository = store.write(new_repository)
    child, index = store.write(new_image, repository, 1), store.write(new_image, repository, 2)
    store.write(lambda tx: tx.images.add_children(index.id, repository.id, [child.digest]))

    def referenced(*digests: str) -> dict[str, bool]:
        found = store.read(lambda tx: tx.images.histories(repository.id, digests or None))
        return {history.digest: history.referenced for history in found}

    assert referenced() == {child.digest: True, index.digest: False}
    assert referenced(child.digest, digest("none")) == {child.digest: True}
    store.write(lambda tx: tx.images.archive(index.id, NOW))
    assert referenced(child.digest) == {child.digest: False}
    store.write(lambda tx: tx.images.archive(child.id, NOW))
    assert referenced(child.digest) == {child.digest: True}


def test_tags_point_at_images_and_move(store: Store) -> None:
    repository = store.write(new_repository)
    one, two = store.write(new_image, repository, 1), store.write(new_image, repository, 2)

    def tag(tx: Transaction) -> None:
        for name in ("c", "a", "b"):
            tx.tags.put(repository.id, name, one.id)
        tx.tags.put(repository.id, "b", two.id)

    store.write(tag)
    assert store.read(lambda tx: tx.tags.image_id(repository.id, "b")) == two.id
    assert store.read(lambda tx: tx.tags.of_image(one.id)) == ["a", "c"]
    assert store.read(lambda tx: tx.tags.count(one.id)) == 2
    assert store.read(lambda tx: tx.tags.of_images([one.id, two.id, 0])) == {
        one.id: ["a", "c"],
        two.id: ["b"],
        0: [],
    }
    assert store.read(lambda tx: tx.tags.of_images([])) == {}
    assert store.read(lambda tx: tx.tags.page(repository.id, "a", 1)) == ["b"]
    store.write(lambda tx: tx.tags.delete(repository.id, "a"))
    assert store.read(lambda tx: tx.tags.of_image(one.id)) == ["c"]


def test_tags_that_point_into_another_repository(store: Store) -> None:
    repository, other = store.write(new_repository), store.write(new_repository, "other")
    image = store.write(new_image, repository)
    store.write(lambda tx: tx.tags.put(repository.id, "right", image.id))
    assert store.read(lambda tx: tx.tags.astray(9)) == []
    for name in ("b", "B"):
        store.write(lambda tx, name=name: tx.tags.put(other.id, name, image.id))
    assert store.read(lambda tx: tx.tags.astray(9)) == [(other.id, "B"), (other.id, "b")]
    assert store.read(lambda tx: tx.tags.astray(1)) == [(other.id, "B")]


# -------------------------------------------------------------------------------- uploads


def test_uploads_advance_from_where_they_are(store: Store) -> None:
    repository = store.write(new_repository)
    store.write(lambda tx: tx.uploads.insert("id", repository.id, "key", 1.0))

    def get() -> Upload:
        found = store.read(lambda tx: tx.uploads.get(repository.id, "id"))
        assert found is not None
        return found

    assert get() == Upload("id", repository.id, 0, 0, None, None, 1.0, 1.0, "key", 0)
    stale = get()
    assert store.write(lambda tx: tx.uploads.advance(stale, 10, 11, 2.0)) is True
    assert store.write(lambda tx: tx.uploads.advance(stale, 20, 21, 3.0)) is False
    assert get() == Upload("id", repository.id, 10, 1, None, 10, 1.0, 2.0, "key", 11)
    for size, smallest, last in ((14, 10, 4), (34, 4, 20), (40, 4, 6)):
        assert store.write(lambda tx, size=size: tx.uploads.advance(get_in(tx, repository.id), size, 0, 4.0))
        assert (get().smallest_part, get().last_part) == (smallest, last)
    assert store.read(lambda tx: tx.uploads.get(repository.id + 1, "id")) is None
    assert store.write(lambda tx: tx.uploads.delete("id")) is True
    assert store.write(lambda tx: tx.uploads.delete("id")) is False


def get_in(tx: Transaction, repository_id: int) -> Upload:
    found = tx.uploads.get(repository_id, "id")
    assert found is not None
    return found


def test_stale_uploads_end(store: Store) -> None:
    repository = store.write(new_repository)
    for upload_id, time in (("c", 1.0), ("a", 2.0), ("b", 3.0)):
        store.write(lambda tx, i=upload_id, t=time: tx.uploads.insert(i, repository.id, "", t))
    assert store.read(lambda tx: tx.uploads.stale(2.0, "", 10)) == ["a", "c"]
    assert store.read(lambda tx: tx.uploads.stale(3.0, "a", 1)) == ["b"]
    assert store.write(lambda tx: tx.uploads.delete_stale("b", 2.0)) is False
    assert store.write(lambda tx: tx.uploads.delete_stale("a", 2.0)) is True
    assert store.read(lambda tx: tx.uploads.known(["a", "b", "c", "d"])) == {"b", "c"}


# -------------------------------------------------------------------------------- registries


def test_values_of_registries_and_of_the_server(store: Store) -> None:
    for value in ("one", "two"):
        store.write(lambda tx, v=value: tx.registry_values.put(*HERE, "name", v))
        store.write(lambda tx, v=value: tx.server_values.put("name", v))
    assert store.read(lambda tx: tx.registry_values.get(*HERE, "name")) == "two"
    assert store.read(lambda tx: tx.registry_values.get(*ELSEWHERE, "name")) is None
    assert store.read(lambda tx: tx.server_values.get("name")) == "two"
    assert store.read(lambda tx: tx.server_values.get("other")) is None
    store.write(lambda tx: tx.registry_values.delete(*HERE, "name"))
    assert store.read(lambda tx: tx.registry_values.get(*HERE, "name")) is None


def test_pull_time_exclusions(store: Store) -> None:
    for arn in ("arn:b", "arn:a", "arn:c"):
        store.write(lambda tx, arn=arn: tx.pull_time_exclusions.insert(*HERE, arn))
    assert store.read(lambda tx: tx.pull_time_exclusions.page(*HERE, "", 2)) == ["arn:a", "arn:b"]
    assert store.read(lambda tx: tx.pull_time_exclusions.page(*HERE, "arn:b", 2)) == ["arn:c"]
    assert store.write(lambda tx: tx.pull_time_exclusions.delete(*HERE, "arn:b")) is True
    assert store.write(lambda tx: tx.pull_time_exclusions.delete(*HERE, "arn:b")) is False


def template(prefix: str, **changed: Any) -> CreationTemplate:
    values: dict[str, Any] = {
        "prefix": prefix,
        "description": None,
        "encryption_type": "KMS",
        "kms_key": "key",
        "resource_tags": {"a": "b"},
        "tag_mutability": "MUTABLE",
        "tag_exclusions": ("x*",),
        "repository_policy": None,
        "lifecycle_policy": "{}",
        "applied_for": ("REPLICATION",),
        "custom_role_arn": None,
        "created_at": 1.5,
        "updated_at": 2.5,
    }
    return CreationTemplate(**(values | changed))


def test_creation_templates(store: Store) -> None:
    made = [template("a"), template("b", description="second"), template("c")]
    for one in (*reversed(made), template("b", description="first"), made[1]):
        store.write(lambda tx, one=one: tx.creation_templates.put(*HERE, one))
    assert store.read(lambda tx: tx.creation_templates.get(*HERE, "b")) == made[1]
    assert store.read(lambda tx: tx.creation_templates.page(*HERE, None, "", 2)) == made[:2]
    assert store.read(lambda tx: tx.creation_templates.page(*HERE, ["c", "a", "z"], "a", 9)) == [made[2]]
    store.write(lambda tx: tx.creation_templates.delete(*HERE, "b"))
    assert store.read(lambda tx: tx.creation_templates.get(*HERE, "b")) is None


def test_pull_through_rules(store: Store) -> None:
    def rule(prefix: str, host: str = "quay.io") -> PullThroughRule:
        return PullThroughRule(prefix, host, "quay", "ROOT", None, "arn", 1.5, 2.5)

    for one in (rule("b"), rule("a"), rule("a", "ghcr.io")):
        store.write(lambda tx, one=one: tx.pull_through_rules.put(*HERE, one))
    assert store.read(lambda tx: tx.pull_through_rules.get(*HERE, "a")) == rule("a", "ghcr.io")
    assert store.read(lambda tx: tx.pull_through_rules.count(*HERE)) == 2
    assert store.read(lambda tx: tx.pull_through_rules.page(*HERE, None, "a", 9)) == [rule("b")]
    assert store.read(lambda tx: tx.pull_through_rules.page(*HERE, [], "", 9)) == []
    store.write(lambda tx: tx.pull_through_rules.delete(*HERE, "a"))
    assert store.read(lambda tx: tx.pull_through_rules.get(*HERE, "a")) is None


def test_what_is_known_of_upstreams(store: Store) -> None:
    repository = store.write(new_repository)
    one, two = store.write(new_image, repository, 1), store.write(new_image, repository, 2)
    for image, time in ((one, 1.5), (two, 2.5)):
        store.write(lambda tx, i=image.id, t=time: tx.upstream_tags.put(repository.id, "v1", i, t))
        store.write(lambda tx, t=time: tx.upstream_referrers.put(repository.id, one.digest, t))
    assert store.read(lambda tx: tx.upstream_tags.get(repository.id, "v1")) == UpstreamTag(two.id, 2.5)
    assert store.read(lambda tx: tx.upstream_tags.get(repository.id, "v2")) is None
    store.write(lambda tx: tx.upstream_tags.put(repository.id, "V1", two.id, 0.5))
    assert list(store.read(lambda tx: tx.upstream_tags.of_image(two.id)).items()) == [
        ("V1", 0.5),
        ("v1", 2.5),
    ]
    assert store.read(lambda tx: tx.upstream_tags.of_image(one.id)) == {}
    assert store.read(lambda tx: tx.upstream_referrers.listed_at(repository.id, one.digest)) == 2.5
    store.write(lambda tx: tx.upstream_referrers.delete(repository.id, one.digest))
    assert store.read(lambda tx: tx.upstream_referrers.listed_at(repository.id, one.digest)) is None
    store.write(lambda tx: tx.images.delete(two.id))
    assert store.read(lambda tx: tx.upstream_tags.get(repository.id, "v1")) is None


# -------------------------------------------------------------------------------- engines


def test_tasks_are_done_in_turn(store: Store) -> None:
    for number, due_at in ((1, 5.0), (2, 4.0), (3, 4.0)):
        store.write(lambda tx, n=number, d=due_at: tx.tasks.add("copy", *HERE, {"n": n}, d))
    store.write(lambda tx: tx.tasks.add("scan", *HERE, {}, 0.0))

    def due(now: float, limit: int = 10) -> list[Task]:
        return store.read(lambda tx: tx.tasks.due("copy", now, limit))

    assert [task.payload["n"] for task in due(5.0)] == [2, 3, 1]
    assert [task.payload["n"] for task in due(4.5, 1)] == [2]
    first = due(4.0)[0]
    assert (first.engine, first.account, first.region, first.due_at, first.attempts) == (
        "copy",
        *HERE,
        4.0,
        0,
    )
    store.write(lambda tx: tx.tasks.postpone(first, 9.0))
    assert [(task.payload["n"], task.attempts) for task in due(float("inf"))] == [(3, 0), (1, 0), (2, 1)]
    assert store.write(lambda tx: tx.tasks.note(first.id, {"n": 2, "done": "a"})) is True
    assert [task.payload for task in due(float("inf"))][2] == {"n": 2, "done": "a"}
    assert store.write(lambda tx: tx.tasks.delete(first.id)) is True
    assert store.write(lambda tx: tx.tasks.note(first.id, {})) is False
    assert store.write(lambda tx: tx.tasks.delete(first.id)) is False


def test_lifecycle_previews(store: Store) -> None:
    repository = store.write(new_repository)
    images = [store.write(new_image, repository, seed) for seed in range(3)]
    store.write(lambda tx: tx.tags.put(repository.id, "v1", images[2].id))
    results = [
        NewResult(1, images[0].digest, "STANDARD", "EXPIRE", None, 7),
        NewResult(2, digest("gone"), "STANDARD", "EXPIRE", None, None),
        NewResult(3, images[2].digest, "STANDARD", "TRANSITION", "ARCHIVE", None),
    ]
    store.write(lambda tx: tx.lifecycle_previews.start(repository.id, "{}", 1.5))
    assert store.read(lambda tx: tx.lifecycle_previews.in_progress()) == [repository.id]
    store.write(lambda tx: tx.lifecycle_previews.add_results(repository.id, results))
    store.write(lambda tx: tx.lifecycle_previews.end(repository.id, "COMPLETE", 2.5))
    assert store.read(lambda tx: tx.lifecycle_previews.in_progress()) == []
    assert store.read(lambda tx: tx.lifecycle_previews.get(repository.id)) == Preview(
        repository.id, "{}", "COMPLETE", 1.5, 2.5
    )
    first, last = (
        Result(
            r.position,
            r.digest,
            r.storage_class,
            r.action,
            r.target_storage_class,
            r.rule_priority,
            i.id,
            NOW,
        )
        for r, i in ((results[0], images[0]), (results[2], images[2]))
    )
    assert store.read(lambda tx: tx.lifecycle_previews.page(repository.id, "ANY", 0, 9)) == [first, last]
    assert store.read(lambda tx: tx.lifecycle_previews.page(repository.id, "ANY", 1, 9)) == [last]
    assert store.read(lambda tx: tx.lifecycle_previews.page(repository.id, "UNTAGGED", 0, 9)) == [first]
    ids = [image.id for image in images]
    assert store.read(lambda tx: tx.lifecycle_previews.of_images(repository.id, "TAGGED", ids)) == [last]
    assert store.read(lambda tx: tx.lifecycle_previews.of_images(repository.id, "ANY", ids[:2])) == [first]
    assert store.read(lambda tx: tx.lifecycle_previews.counts(repository.id)) == {
        "EXPIRE": 1,
        "TRANSITION": 1,
    }
    store.write(lambda tx: tx.lifecycle_previews.clear_results(repository.id))
    assert store.read(lambda tx: tx.lifecycle_previews.counts(repository.id)) == {}
    store.write(lambda tx: tx.lifecycle_previews.start(repository.id, "[]", 3.5))
    assert store.read(lambda tx: tx.lifecycle_previews.get(repository.id)) == Preview(
        repository.id, "[]", "IN_PROGRESS", 3.5, None
    )


def test_signing_statuses(store: Store) -> None:
    image = store.write(lambda tx: new_image(tx, new_repository(tx)))
    begun, failed = SigningStatus("arn:b", "IN_PROGRESS"), SigningStatus("arn:b", "FAILED", "code", "reason")
    other = SigningStatus("arn:a", "COMPLETE")
    for status in (begun, other, failed):
        store.write(lambda tx, status=status: tx.signing_statuses.put(image.id, status))
    assert store.read(lambda tx: tx.signing_statuses.of_image(image.id)) == [other, failed]


def test_replications(store: Store) -> None:
    image = store.write(lambda tx: new_image(tx, new_repository(tx)))
    for region, tag, status, code in (
        ("us-west-2", "v1", "IN_PROGRESS", None),
        ("eu-west-1", None, "COMPLETE", None),
        ("us-west-2", "v1", "FAILED", "code"),
    ):
        store.write(
            lambda tx, r=region, t=tag, s=status, c=code: tx.replications.put(image.id, ACCOUNT, r, t, s, c)
        )
    assert store.read(lambda tx: tx.replications.of_image(image.id)) == [
        ReplicationState(ACCOUNT, "eu-west-1", "COMPLETE", None),
        ReplicationState(ACCOUNT, "us-west-2", "FAILED", "code"),
    ]


def test_backfills(store: Store) -> None:
    def begin(tx: Transaction, backfill_id: str) -> int:
        return tx.backfills.insert(backfill_id, *HERE, *ELSEWHERE, "IN_PROGRESS", 1.5)

    numbers = [store.write(begin, backfill_id) for backfill_id in ("x", "y", "z")]
    assert numbers == sorted(numbers)
    found = store.read(lambda tx: tx.backfills.get(*HERE, "x"))
    assert found is not None
    assert (found.number, found.total, found.completed, found.failed) == (numbers[0], None, 0, 0)
    assert store.read(lambda tx: tx.backfills.by_number(numbers[0])) == found
    assert store.read(lambda tx: tx.backfills.get(*ELSEWHERE, "x")) is None
    store.write(lambda tx: tx.backfills.set_status(numbers[1], "FAILED", ended_at=5.0, failure_code="code"))

    def page(ended_after: float, before: int | None, limit: int = 9) -> list[int]:
        return [
            backfill.number
            for backfill in store.read(lambda tx: tx.backfills.page(*HERE, ended_after, before, limit))
        ]

    assert page(0.0, None) == numbers[::-1]
    assert page(5.0, None) == [numbers[2], numbers[0]]
    assert page(0.0, numbers[2], 1) == [numbers[1]]
    running = store.read(lambda tx: tx.backfills.running(*HERE))
    assert {backfill.number for backfill in running} == {numbers[0], numbers[2]}
    store.write(lambda tx: tx.backfills.delete_ended(*HERE, 5.0))
    assert page(0.0, None) == [numbers[2], numbers[0]]


def test_the_replications_of_a_backfill(store: Store) -> None:
    repository = store.write(new_repository)
    image, index, archived = (
        store.write(new_image, repository, seed, media_type=kind)
        for seed, kind in enumerate(("image", "index", "image"))
    )

    def fill(tx: Transaction) -> tuple[int, int]:
        for name in ("b", "a"):
            tx.tags.put(repository.id, name, image.id)
        tx.images.archive(archived.id, NOW)
        number = tx.backfills.insert("x", *HERE, *ELSEWHERE, "IN_PROGRESS", 1.5)
        added = tx.backfills.add_images(number, repository.id, ["index", "list"])
        tx.backfills.set_total(number, added)
        return number, added

    number, added = store.write(fill)
    assert added == 3
    ids = store.read(lambda tx: tx.backfills.replication_ids(number))
    replications = [store.read(lambda tx, i=i: tx.backfills.replication(i)) for i in ids]
    assert [(r.digest, r.tag, r.is_index, r.status) for r in replications if r is not None] == [
        (image.digest, "a", False, "WAITING"),
        (image.digest, "b", False, "WAITING"),
        (index.digest, None, True, "WAITING"),
    ]
    assert store.read(lambda tx: tx.backfills.replication(ids[-1] + 1)) is None
    assert store.read(lambda tx: tx.backfills.has_tried(number)) is False
    store.write(lambda tx: tx.backfills.set_tried(ids[2]))
    assert store.read(lambda tx: tx.backfills.has_tried(number)) is True

    def finish(tx: Transaction) -> None:
        for replication, code in zip(replications[:2], ("code", None), strict=True):
            assert replication is not None
            tx.backfills.finish(replication, code)

    store.write(finish)

    def outcomes(status: str | None, after: int = 0, limit: int = 9) -> list[int]:
        found = store.read(lambda tx: tx.backfills.outcomes(number, status, after, limit))
        return [replication.id for replication in found]

    assert outcomes(None) == ids[:2]
    assert outcomes(None, ids[0]) == outcomes("COMPLETE") == [ids[1]]
    assert outcomes("FAILED") == outcomes(None, limit=1) == [ids[0]]
    assert store.read(lambda tx: tx.backfills.failure_codes(number)) == ["code"]
    found = store.read(lambda tx: tx.backfills.by_number(number))
    assert found is not None
    assert (found.total, found.completed, found.failed) == (3, 1, 1)


def test_scans_and_findings(store: Store) -> None:
    image = store.write(lambda tx: new_image(tx, new_repository(tx)))
    later = store.write(lambda tx: new_image(tx, new_repository(tx, "other")))
    store.write(lambda tx: tx.scans.request(later.id, "BASIC", "PENDING", 2.5, 2.5))
    store.write(lambda tx: tx.scans.request(image.id, "BASIC", "PENDING", 1.5, 1.5))
    scan = Scan(image.id, "BASIC", "PENDING", "", 1.5, 1.5, None, None, {}, None, None)
    assert store.read(lambda tx: tx.scans.get(image.id, "BASIC")) == scan
    assert store.read(lambda tx: tx.scans.get(image.id, "ENHANCED")) is None
    assert store.read(lambda tx: tx.scans.next_due(2.5)) == scan
    assert store.read(lambda tx: tx.scans.next_due(1.0)) is None
    assert store.read(lambda tx: list(tx.scans.of_images([image.id, later.id, 0], "BASIC"))) in (
        [image.id, later.id],
        [later.id, image.id],
    )
    store.write(lambda tx: tx.scans.request(later.id, "ENHANCED", "SCAN_ELIGIBILITY_EXPIRED", 0.5, None))
    store.write(lambda tx: tx.scans.schedule(scan, 9.0))
    store.write(lambda tx: tx.scans.hasten(5.0))
    never = store.read(lambda tx: tx.scans.get(later.id, "ENHANCED"))
    assert never is not None
    assert never.due_at is None
    assert store.read(lambda tx: tx.scans.get(image.id, "BASIC")) == replace(scan, due_at=5.0)
    outcome: dict[str, Any] = {
        "status": "COMPLETE",
        "description": "done",
        "completed_at": 6.5,
        "due_at": None,
        "source_updated_at": 0.5,
        "severity_counts": {"HIGH": 2},
        "platform": "Debian",
        "architecture": "amd64",
    }
    assert store.write(lambda tx: tx.scans.complete(replace(scan, requested_at=1.0), **outcome)) is False
    assert store.write(lambda tx: tx.scans.complete(scan, **outcome)) is True
    assert store.read(lambda tx: tx.scans.get(image.id, "BASIC")) == replace(scan, **outcome)
    # One that comes to nothing leaves when the last one was complete.
    failed = outcome | {"status": "FAILED", "completed_at": None}
    assert store.write(lambda tx: tx.scans.complete(scan, **failed)) is True
    kept = store.read(lambda tx: tx.scans.get(image.id, "BASIC"))
    assert kept == replace(scan, **failed | {"completed_at": 6.5})
    findings = [StoredFinding(position, f"CVE-{position}", 0.5, {"n": position}) for position in (1, 2, 3)]
    for some in (findings, findings[:2]):
        store.write(lambda tx, some=some: tx.scans.replace_findings(image.id, "BASIC", some))
    assert store.read(lambda tx: tx.scans.all_findings(image.id, "BASIC")) == findings[:2]
    assert store.read(lambda tx: tx.scans.findings(image.id, "BASIC", 1, 9)) == [findings[1]]
    # A scan that is asked for anew forgets the last one.
    store.write(lambda tx: tx.scans.request(image.id, "BASIC", "PENDING", 8.5, 8.5))
    assert store.read(lambda tx: tx.scans.findings(image.id, "BASIC", 0, 9)) == []
