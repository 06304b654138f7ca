"""Pages of lists: together they are the whole list, and their tokens are for this list alone."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer

from .conftest import connect, image_manifest, refused, upload_layer


@dataclass(frozen=True)
class Listing:
    """A paged list: the operation, the output's member with the list, and the input besides paging."""

    operation: str
    member: str
    given: dict[str, Any] = field(default_factory=dict)

    def page(self, client, **paging):
        """Return a page and the token of the next one."""
        answer = getattr(client, self.operation)(**self.given, **paging)
        return answer[self.member], answer.get("nextToken")

    def refuses(self, client, token):
        """Tell whether a token is refused, as one that is no good."""
        operation = getattr(client, self.operation)
        code, message = refused(operation, **self.given, nextToken=token)
        return code == "InvalidParameterException" and "'nextToken'" in message

    def pages(self, client, size):
        """Return all pages."""
        page, token = self.page(client, maxResults=size)
        pages = [page]
        while token is not None:
            page, token = self.page(client, maxResults=size, nextToken=token)
            pages.append(page)
        return pages


APP = {"repositoryName": "app"}
REPOSITORIES = Listing("describe_repositories", "repositories")
IMAGE_IDS = Listing("list_images", "imageIds", APP)
IMAGES = Listing("describe_images", "imageDetails", APP)
LISTINGS = {
    "repositories": REPOSITORIES,
    "image ids": IMAGE_IDS,
    "tagged image ids": Listing("list_images", "imageIds", {**APP, "filter": {"tagStatus": "TAGGED"}}),
    "untagged image ids": Listing("list_images", "imageIds", {**APP, "filter": {"tagStatus": "UNTAGGED"}}),
    "images": IMAGES,
    "tagged images": Listing("describe_images", "imageDetails", {**APP, "filter": {"tagStatus": "TAGGED"}}),
    "untagged images": Listing(
        "describe_images", "imageDetails", {**APP, "filter": {"tagStatus": "UNTAGGED"}}
    ),
    "images of another repository": Listing("describe_images", "imageDetails", {"repositoryName": "b/c"}),
}


def put(client, repository, title, *tags):
    """Put an image of its own for each title, which has the blob of ``fill``."""
    manifest = image_manifest(b"blob", b"blob", annotations={"title": title}).decode()
    for named in [{"imageTag": tag} for tag in tags] or [{}]:
        client.put_image(repositoryName=repository, imageManifest=manifest, **named)


def fill(client):
    """Give each of the lists at least four entries, and some images several."""
    for name in ("app", "a-b", "b/c", "aa", "zoo"):
        client.create_repository(repositoryName=name)
    for name in ("app", "b/c"):
        upload_layer(client, name, b"blob")
    for number in range(4):
        put(client, "app", f"untagged {number}")
        put(client, "app", f"tagged {number}", f"v{9 - number}", *(("a", "z", "_") if number == 2 else ()))
        put(client, "b/c", f"{number}")


@pytest.fixture(params=LISTINGS, ids=lambda name: name.replace(" ", "-"))
def listing(request):
    return LISTINGS[request.param]


def test_pages_are_the_whole_list(ecr, listing):
    fill(ecr)
    whole, token = listing.page(ecr)
    assert token is None
    assert len(whole) >= 4
    for size in (1, 2, 3, len(whole) - 1, len(whole), 1000):
        pages = listing.pages(ecr, size)
        assert [entry for page in pages for entry in page] == whole
        assert {len(page) for page in pages[:-1]} <= {size}
        assert len(pages) == -(-len(whole) // size)


def test_an_empty_list_is_one_empty_page(ecr):
    assert REPOSITORIES.pages(ecr, 1) == [[]]
    ecr.create_repository(**APP)
    assert IMAGE_IDS.pages(ecr, 1) == [[]]
    assert IMAGES.pages(ecr, 1) == [[]]


def test_a_page_has_a_hundred_entries_where_no_number_is_given(ecr):
    for number in range(101):
        ecr.create_repository(repositoryName=f"repository-{number}")
    ecr.create_repository(**APP)
    upload_layer(ecr, "app", b"blob")
    for number in range(101):
        put(ecr, "app", str(number))
    for listing, total in ((REPOSITORIES, 102), (IMAGE_IDS, 101), (IMAGES, 101)):
        first, token = listing.page(ecr)
        rest, last = listing.page(ecr, nextToken=token)
        assert (len(first), len(rest), last) == (100, total - 100, None)


def test_the_size_of_a_page_can_change_on_the_way(ecr, listing):
    fill(ecr)
    whole, _ = listing.page(ecr)
    first, token = listing.page(ecr, maxResults=1)
    rest, last = listing.page(ecr, nextToken=token)
    assert (first + rest, last) == (whole, None)
    # A token is not used up.
    assert listing.page(ecr, nextToken=token) == (rest, None)


def test_a_token_that_was_not_given_is_refused(ecr, listing):
    fill(ecr)
    _, token = listing.page(ecr, maxResults=1)
    swapped = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    for forged in ("", "x", "MQ==", token[1:], token[:-1], token + "x", swapped, token.upper(), "ü" + token):
        assert listing.refuses(ecr, forged), forged


def test_a_token_is_for_its_list_alone(ecr):
    fill(ecr)
    tokens = {name: listing.page(ecr, maxResults=1)[1] for name, listing in LISTINGS.items()}
    for given_for, token in tokens.items():
        for used_for, listing in LISTINGS.items():
            if used_for != given_for:
                assert listing.refuses(ecr, token), (given_for, used_for)


def test_a_token_is_for_its_registry_alone(server):
    mine = connect(server.url, "123456789012")
    others = [connect(server.url, "210987654321"), connect(server.url, "123456789012", "eu-west-1")]
    for client in (mine, *others):
        fill(client)
    for listing in LISTINGS.values():
        _, token = listing.page(mine, maxResults=1)
        for other in others:
            assert listing.refuses(other, token)
        assert listing.page(mine, nextToken=token) == (listing.page(mine)[0][1:], None)


def test_a_token_survives_a_restart(tmp_path):
    settings = Settings(data_dir=str(tmp_path), port=0)
    with BackgroundServer(settings) as server:
        client = connect(server.url)
        fill(client)
        rests = {
            name: (listing.page(client, maxResults=1)[1], listing.page(client)[0][1:])
            for name, listing in LISTINGS.items()
        }
    with BackgroundServer(settings) as server:
        client = connect(server.url)
        for name, (token, rest) in rests.items():
            found, _ = LISTINGS[name].page(client, nextToken=token)
            assert stable(found) == stable(rest)


def stable(entries):
    """Entries without what names the server's port."""
    return [{key: value for key, value in entry.items() if key != "repositoryUri"} for entry in entries]


def test_a_token_ends_with_a_reset(server, ecr):
    fill(ecr)
    _, token = REPOSITORIES.page(ecr, maxResults=1)
    server.reset()
    fill(ecr)
    assert REPOSITORIES.refuses(ecr, token)


def test_what_changes_between_two_pages_disturbs_no_other_entry(ecr, listing):
    fill(ecr)
    whole, _ = listing.page(ecr)
    first, token = listing.page(ecr, maxResults=2)
    if listing is REPOSITORIES:
        ecr.delete_repository(repositoryName=first[-1]["repositoryName"], force=True)
        ecr.create_repository(repositoryName="a0")
    else:
        gone = {"imageDigest": first[-1]["imageDigest"]}
        ecr.batch_delete_image(repositoryName=listing.given["repositoryName"], imageIds=[gone])
    rest, _ = listing.page(ecr, nextToken=token)
    assert rest == [
        entry for entry in whole[2:] if entry.get("imageDigest") != first[-1].get("imageDigest", 0)
    ]


@pytest.mark.parametrize("operation", ["describe_repositories", "list_images", "describe_images"])
def test_botocores_paginators_see_everything(ecr, operation):
    fill(ecr)
    listing = next(listing for listing in LISTINGS.values() if listing.operation == operation)
    paginator = ecr.get_paginator(operation)
    pages = list(paginator.paginate(**listing.given, PaginationConfig={"PageSize": 2}))
    assert len(pages) > 1
    found = [entry for page in pages for entry in page[listing.member]]
    assert json.dumps(found, default=str) == json.dumps(listing.page(ecr)[0], default=str)
