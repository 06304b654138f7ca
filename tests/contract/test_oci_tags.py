"""The lists of tags and, where the setting offers it, of repositories."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import OCI_MANIFEST, put_image
from tests.contract.oci_client import Answer, OciClient, api_client, exchange, no_such_repository

TAGS = ["1", "10", "2", "A", "V1", "_x", "a", "a-b", "a.b", "latest", "v1", "v10", "v2"]


@pytest.fixture
def oci(server: BackgroundServer) -> OciClient:
    return OciClient(server.address)


@pytest.fixture
def tagged(oci: OciClient, repository: str) -> str:
    """The path of the tags of a repository, which were pushed in no order."""
    image = oci.push_image(repository)
    for tag in TAGS[::2] + TAGS[1::2]:
        oci.push_manifest(repository, tag, image.manifest)
    return f"/v2/{repository}/tags/list"


@pytest.fixture(scope="module")
def catalog_server() -> Iterator[BackgroundServer]:
    with BackgroundServer(Settings(data_dir=MEMORY, port=0, oci_catalog="on")) as server:
        yield server


@pytest.fixture
def catalog(catalog_server: BackgroundServer) -> OciClient:
    """A client of a server that offers the catalog, and is empty."""
    catalog_server.reset()
    return OciClient(catalog_server.address)


def next_path(answer: Answer) -> str | None:
    link = answer.headers["Link"]
    if link is None:
        return None
    match = re.fullmatch(r'<([^>]+)>; rel="next"', link)
    assert match, link
    return match[1]


def test_all_tags_are_listed_in_order(oci: OciClient, tagged: str) -> None:
    answer = oci.get(tagged)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json() == {"name": "app", "tags": TAGS}
    assert next_path(answer) is None


def test_a_repository_without_tags_has_an_empty_list(oci: OciClient, repository: str) -> None:
    assert oci.get("/v2/app/tags/list").json() == {"name": "app", "tags": []}
    oci.push_image(repository)
    assert oci.get("/v2/app/tags/list").json() == {"name": "app", "tags": []}


@pytest.mark.parametrize("size", [1, 2, 5, 12, 13, 14, 1000])
def test_pages_lead_to_each_other_by_links(oci: OciClient, tagged: str, size: int) -> None:
    path: str | None = f"{tagged}?n={size}"
    pages: list[list[str]] = []
    while path is not None:
        answer = oci.get(path)
        pages.append(answer.json()["tags"])
        path = next_path(answer)
    assert [tag for page in pages for tag in page] == TAGS
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert 1 <= len(pages[-1]) <= size


# ``last``, and the tags past it.
LASTS = {
    "the first": ("1", TAGS[1:]),
    "one in the middle": ("a-b", TAGS[8:]),
    "the last": ("v2", []),
    "one that is no tag": ("b", TAGS[9:]),
    "before all": ("+", TAGS),
    "nothing": ("", TAGS),
    "something encoded": ("a%2Db", TAGS[8:]),
}


@pytest.mark.parametrize(("last", "rest"), LASTS.values(), ids=LASTS)
def test_a_list_begins_past_last(oci: OciClient, tagged: str, last: str, rest: list[str]) -> None:
    assert oci.get(f"{tagged}?last={last}").json()["tags"] == rest
    assert oci.get(f"{tagged}?n=2&last={last}").json()["tags"] == rest[:2]


def test_a_page_of_none_is_empty(oci: OciClient, tagged: str) -> None:
    answer = oci.get(f"{tagged}?n=0")
    assert (answer.status, answer.json()) == (200, {"name": "app", "tags": []})
    assert next_path(answer) is None


@pytest.mark.parametrize("size", [1001, 10_000, 999_999_999])
def test_a_page_of_more_than_1000_is_refused_in_ecrs_words(oci: OciClient, tagged: str, size: int) -> None:
    answer = oci.get(f"{tagged}?n={size}")
    assert answer.error == (405, "UNSUPPORTED")
    assert answer.message == (
        "Invalid parameter at 'maxResults' failed to satisfy constraint: "
        "'Member must have value less than or equal to 1000'"
    )


@pytest.mark.parametrize("size", ["", "-1", "one", "1.5", "%2B1", "1e3", "9" * 5000])
def test_a_page_of_no_number_is_refused(oci: OciClient, tagged: str, size: str) -> None:
    answer = oci.get(f"{tagged}?n={size}")
    assert answer.error == (405, "UNSUPPORTED")
    assert "maxResults" in answer.message


def test_a_page_has_1000_tags_where_no_number_is_given(oci: OciClient, repository: str) -> None:
    # One image takes 1000 tags.
    images = [oci.push_image(repository, seed=seed) for seed in ("one", "two")]
    tags = [f"t{number:04}" for number in range(1001)]
    connection = oci.connect()
    for number, tag in enumerate(tags):
        manifest = images[number % 2].manifest
        answer = exchange(
            connection, "PUT", f"/v2/app/manifests/{tag}", manifest, {"Content-Type": OCI_MANIFEST}
        )
        assert answer.status == 201
    connection.close()
    answer = oci.get("/v2/app/tags/list")
    assert answer.json()["tags"] == tags[:1000]
    following = next_path(answer)
    assert following is not None
    assert oci.get(following).json()["tags"] == tags[1000:]


def test_tags_of_both_planes_are_in_one_list(oci: OciClient, ecr: Any, repository: str) -> None:
    digest = put_image(ecr, repository, "by-api", seed="api")
    oci.push_image(repository, "by-push", seed="push")
    assert oci.get("/v2/app/tags/list").json()["tags"] == ["by-api", "by-push"]
    ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": digest}])
    assert oci.get("/v2/app/tags/list").json()["tags"] == ["by-push"]


def test_tags_of_a_repository_that_does_not_exist_are_refused_in_ecrs_words(oci: OciClient) -> None:
    answer = oci.get("/v2/none/tags/list")
    assert answer.error == (404, "NAME_UNKNOWN")
    assert answer.message == no_such_repository("none")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_tags_are_only_read(oci: OciClient, tagged: str, method: str) -> None:
    answer = oci.request(method, tagged)
    assert answer.error == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET"


def test_the_catalog_is_not_offered_unless_the_setting_does(oci: OciClient, repository: str) -> None:
    assert oci.get("/v2/_catalog").error == (405, "UNSUPPORTED")


def test_the_catalog_lists_the_repositories_in_pages(
    catalog: OciClient, catalog_server: BackgroundServer
) -> None:
    assert catalog.get("/v2/_catalog").json() == {"repositories": []}
    names = ["a/b", "a/b/c", "app", "x-1", "x/1"]
    client = api_client(catalog_server.url)
    for name in reversed(names):
        client.create_repository(repositoryName=name)
    assert catalog.get("/v2/_catalog").json() == {"repositories": names}
    path: str | None = "/v2/_catalog?n=2"
    pages = []
    while path is not None:
        answer = catalog.get(path)
        pages.append(answer.json()["repositories"])
        path = next_path(answer)
    assert pages == [names[:2], names[2:4], names[4:]]
    assert catalog.get("/v2/_catalog?n=0").json() == {"repositories": []}
    assert catalog.get("/v2/_catalog?last=app").json() == {"repositories": names[3:]}
    assert catalog.get("/v2/_catalog?n=1001").error == (405, "UNSUPPORTED")


def test_the_catalog_is_that_of_one_registry(catalog: OciClient, catalog_server: BackgroundServer) -> None:
    api_client(catalog_server.url).create_repository(repositoryName="here")
    api_client(catalog_server.url, "123456789012", "eu-west-1").create_repository(repositoryName="there")
    there = {"Host": "123456789012.dkr.ecr.eu-west-1.amazonaws.com"}
    assert catalog.get("/v2/_catalog", there).json() == {"repositories": ["there"]}
