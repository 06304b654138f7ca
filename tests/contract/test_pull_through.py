"""Pull-through cache rules, and what pulls fetch by them from an upstream registry, on both planes."""

import base64
import contextlib
import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import boto3
import pytest

from ecr_emulator.core import images, pushes
from ecr_emulator.server import StartError
from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import put_image, refused, sha256
from tests.serving import free_port
from tests.upstream import OCI_INDEX, PASSWORD, USERNAME, running

DAY = 24 * 3600
SECRET = "arn:aws:secretsmanager:us-east-1:{account}:secret:ecr-pullthroughcache/{name}"
GOOD, WRONG, KEYLESS, CLOSED, SEALED, ABSENT = (
    SECRET.format(account="000000000000", name=name)
    for name in ("good", "wrong", "keyless", "closed", "sealed", "absent")
)
FOREIGN = SECRET.format(account="111111111111", name="good")
ROLE = "arn:aws:iam::000000000000:role/ecr"

stub = pytest.fixture(scope="module")(running)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    file = tmp_path_factory.mktemp("secrets") / "secrets.toml"
    tables = {
        GOOD: {"username": USERNAME, "accessToken": PASSWORD},
        WRONG: {"username": USERNAME, "accessToken": "wrong"},
        KEYLESS: {"user": USERNAME},
        CLOSED: {"failure": "access"},
        SEALED: {"failure": "decryption"},
    }
    lines = [
        line
        for arn, members in tables.items()
        for line in (f'["{arn}"]', *(f'{key} = "{value}"' for key, value in members.items()))
    ]
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="module")
def caching_server(stub, secrets):
    """A server whose engines run when told, with the stub as several upstream registries."""
    settings = Settings(
        data_dir=":memory:",
        port=0,
        engines="off",
        secrets=str(secrets),
        upstreams={
            "quay.io": stub.url,
            "registry-1.docker.io": stub.url,
            "registry.k8s.io": f"http://127.0.0.1:{free_port()}",
        },
    )
    with BackgroundServer(settings) as server:
        yield server


@pytest.fixture
def server(caching_server, stub, _event_loop_is_never_blocked):
    caching_server.reset()
    stub.reset()
    return caching_server


def client_of(server, account="000000000000", region="us-east-1"):
    return boto3.client(
        "ecr",
        endpoint_url=server.url,
        region_name=region,
        aws_access_key_id=account,
        aws_secret_access_key="testing",
    )


@pytest.fixture
def ecr(server):
    return client_of(server)


@pytest.fixture
def rule(ecr):
    """A rule that caches quay.io, which is the stub, below ``quay``."""
    create_rule(ecr)


def create_rule(ecr, prefix="quay", url="quay.io", **members):
    return ecr.create_pull_through_cache_rule(ecrRepositoryPrefix=prefix, upstreamRegistryUrl=url, **members)


def fetch(server, path, method="GET", headers=None):
    """Ask /v2/; return status, headers and body."""
    request = urllib.request.Request(f"{server.url}/v2/{path}", method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def code_of(answer):
    status, _, body = answer
    return status, json.loads(body)["errors"][0]["code"]


def pull(server, name, reference):
    """Pull an image as a client does; return its digest."""
    status, headers, content = fetch(server, f"{name}/manifests/{reference}")
    assert status == 200, content
    manifest = json.loads(content)
    for blob in [manifest["config"], *manifest["layers"]] if "config" in manifest else []:
        status, _, body = fetch(server, f"{name}/blobs/{blob['digest']}")
        assert (status, sha256(body)) == (200, blob["digest"])
    return headers["Docker-Content-Digest"]


def run(server):
    return server.manage("run/pull-through", {})["done"]


def images_of(ecr, name):
    return {
        image["imageDigest"]: image.get("imageTags", [])
        for image in ecr.describe_images(repositoryName=name)["imageDetails"]
    }


# --------------------------------------------------------------------------------------------- rules


def test_a_rule_is_created_described_changed_and_deleted(ecr, server):
    made = create_rule(
        ecr,
        "hub/",
        "registry-1.docker.io",
        upstreamRegistry="docker-hub",
        credentialArn=GOOD,
        upstreamRepositoryPrefix="library/",
    )
    rule = {
        "ecrRepositoryPrefix": "hub",
        "upstreamRegistryUrl": "registry-1.docker.io",
        "registryId": "000000000000",
        "upstreamRegistry": "docker-hub",
        "credentialArn": GOOD,
        "upstreamRepositoryPrefix": "library",
    }
    created_at = made.pop("createdAt")
    del made["ResponseMetadata"]
    assert made == rule
    (described,) = ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert described == {**rule, "createdAt": created_at, "updatedAt": created_at}
    server.advance_clock(3600)
    changed = ecr.update_pull_through_cache_rule(ecrRepositoryPrefix="hub", credentialArn=WRONG)
    assert 3600 <= (changed.pop("updatedAt") - created_at).total_seconds() < 3660
    del changed["ResponseMetadata"]
    unnamed = {"upstreamRegistryUrl", "upstreamRegistry"}
    assert changed == {
        **{member: value for member, value in rule.items() if member not in unnamed},
        "credentialArn": WRONG,
    }
    (described,) = ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert (described["credentialArn"], described["createdAt"]) == (WRONG, created_at)
    deleted = ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="hub")
    assert (deleted["ecrRepositoryPrefix"], deleted["createdAt"]) == ("hub", created_at)
    assert ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []


@pytest.mark.parametrize(
    ("host", "members", "kind"),
    [
        ("public.ecr.aws", {}, "ecr-public"),
        ("quay.io", {}, "quay"),
        ("registry.k8s.io", {}, "k8s"),
        ("registry-1.docker.io", {"credentialArn": GOOD}, "docker-hub"),
        ("ghcr.io", {"credentialArn": GOOD}, "github-container-registry"),
        ("registry.gitlab.com", {"credentialArn": GOOD}, "gitlab-container-registry"),
        ("shop.azurecr.io", {"credentialArn": GOOD}, "azure-container-registry"),
        ("cgr.dev", {"credentialArn": GOOD}, "chainguard"),
        ("000000000000.dkr.ecr.eu-west-1.amazonaws.com", {}, "ecr"),
        ("111111111111.dkr.ecr.eu-west-1.amazonaws.com", {"customRoleArn": ROLE}, "ecr"),
    ],
)
def test_each_supported_registry_can_be_an_upstream(ecr, host, members, kind):
    assert create_rule(ecr, url=host, **members)["upstreamRegistry"] == kind


@pytest.mark.parametrize(
    ("host", "members", "message"),
    [
        ("harbor.example.com", {}, "The upstream registry URL harbor.example.com is invalid"),
        ("https://quay.io", {}, "is invalid"),
        ("quay.io", {"upstreamRegistry": "k8s"}, "is invalid"),
        ("registry-1.docker.io", {}, "The specified upstream registry requires authentication. Specify a"),
        ("cgr.dev", {}, "requires authentication"),
        ("111111111111.dkr.ecr.us-east-1.amazonaws.com", {}, "requires authentication"),
    ],
)
def test_a_registry_that_ecr_could_not_use_is_refused(ecr, host, members, message):
    with pytest.raises(ecr.exceptions.UnsupportedUpstreamRegistryException, match=message):
        create_rule(ecr, url=host, **members)
    assert ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []


@pytest.mark.parametrize(
    ("arn", "error"),
    [
        (ABSENT, "SecretNotFoundException"),
        (CLOSED, "UnableToAccessSecretException"),
        (FOREIGN, "UnableToAccessSecretException"),
        (SEALED, "UnableToDecryptSecretValueException"),
    ],
)
def test_a_rule_needs_a_secret_that_can_be_read(ecr, arn, error):
    with pytest.raises(getattr(ecr.exceptions, error)):
        create_rule(ecr, url="ghcr.io", credentialArn=arn)
    create_rule(ecr, url="ghcr.io", credentialArn=GOOD)
    with pytest.raises(getattr(ecr.exceptions, error)):
        ecr.update_pull_through_cache_rule(ecrRepositoryPrefix="quay", credentialArn=arn)
    (rule,) = ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert rule["credentialArn"] == GOOD


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"prefix": "ROOT", "upstreamRepositoryPrefix": "lib"}, "upstreamRepositoryPrefix"),
        ({"customRoleArn": "arn:aws:iam::111111111111:role/ecr"}, "customRoleArn"),
        ({"customRoleArn": "role"}, "customRoleArn"),
        ({"credentialArn": SECRET.format(account="000000000000", name="x y")}, "credentialArn"),
        ({"prefix": "Quay"}, "ecrRepositoryPrefix"),
    ],
)
def test_a_rule_with_a_wrong_parameter_is_refused(ecr, members, message):
    with pytest.raises(ecr.exceptions.InvalidParameterException, match=message):
        create_rule(ecr, **members)
    assert ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []


def test_a_role_of_another_account_can_not_be_set(ecr, rule):
    with pytest.raises(ecr.exceptions.InvalidParameterException, match="customRoleArn"):
        ecr.update_pull_through_cache_rule(
            ecrRepositoryPrefix="quay", customRoleArn="arn:aws:iam::111111111111:role/ecr"
        )
    changed = ecr.update_pull_through_cache_rule(ecrRepositoryPrefix="quay", customRoleArn=ROLE)
    assert changed["customRoleArn"] == ROLE


def test_a_change_of_a_rule_has_to_change_something(ecr, rule):
    before = ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert refused(ecr.update_pull_through_cache_rule, ecrRepositoryPrefix="quay") == (
        "InvalidParameterException",
        "Invalid input: Please set either credential arn or role arn to update the credentials",
    )
    assert ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"] == before


def test_a_prefix_has_one_rule(ecr, rule):
    with pytest.raises(ecr.exceptions.PullThroughCacheRuleAlreadyExistsException, match="'quay'"):
        create_rule(ecr, "quay/", "public.ecr.aws")


def test_a_registry_has_at_most_fifty_rules(ecr, server):
    for number in range(50):
        create_rule(ecr, f"quay-{number}")
    with pytest.raises(ecr.exceptions.LimitExceededException):
        create_rule(ecr, "one-more")
    create_rule(client_of(server, region="eu-west-1"), "one-more")
    ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="quay-7")
    create_rule(ecr, "one-more")


def test_rules_are_paged_by_prefix(ecr):
    for prefix in ("bb", "ROOT", "aa/bb", "aa"):
        create_rule(ecr, prefix)
    pages = ecr.get_paginator("describe_pull_through_cache_rules").paginate(PaginationConfig={"PageSize": 3})
    listed = [[rule["ecrRepositoryPrefix"] for rule in page["pullThroughCacheRules"]] for page in pages]
    assert listed == [["ROOT", "aa", "aa/bb"], ["bb"]]
    named = ecr.describe_pull_through_cache_rules(ecrRepositoryPrefixes=["bb", "aa/"], maxResults=1)
    assert [rule["ecrRepositoryPrefix"] for rule in named["pullThroughCacheRules"]] == ["aa"]
    with pytest.raises(ecr.exceptions.InvalidParameterException, match="nextToken"):
        ecr.describe_pull_through_cache_rules(nextToken=named["nextToken"])


def test_a_rule_that_is_not_there_is_not_found(ecr):
    for operation in (
        partial(ecr.describe_pull_through_cache_rules, ecrRepositoryPrefixes=["absent"]),
        partial(ecr.update_pull_through_cache_rule, ecrRepositoryPrefix="absent", customRoleArn=ROLE),
        partial(ecr.delete_pull_through_cache_rule, ecrRepositoryPrefix="absent"),
        partial(ecr.validate_pull_through_cache_rule, ecrRepositoryPrefix="absent"),
    ):
        with pytest.raises(ecr.exceptions.PullThroughCacheRuleNotFoundException, match="'absent'"):
            operation()


@pytest.mark.parametrize(
    ("auth", "arn", "failure"),
    [
        ("none", GOOD, None),
        ("basic", GOOD, None),
        ("bearer", GOOD, None),
        ("basic", WRONG, "authentication to the upstream registry failed"),
        ("bearer", WRONG, "authentication to the upstream registry failed"),
        ("none", KEYLESS, "username and accessToken"),
    ],
)
def test_validation_tries_the_credentials(ecr, stub, auth, arn, failure):
    stub.auth = auth
    create_rule(ecr, "hub", "registry-1.docker.io", credentialArn=arn)
    answer = ecr.validate_pull_through_cache_rule(ecrRepositoryPrefix="hub")
    assert answer["isValid"] is (failure is None)
    assert failure is None or failure in answer["failure"]
    assert (answer["credentialArn"], answer["upstreamRegistryUrl"]) == (arn, "registry-1.docker.io")


def test_validation_tells_of_an_upstream_that_is_down(ecr):
    create_rule(ecr, "k8s", "registry.k8s.io")
    answer = ecr.validate_pull_through_cache_rule(ecrRepositoryPrefix="k8s")
    assert answer["isValid"] is False
    assert "unavailable" in answer["failure"]


def test_a_reset_removes_rules(ecr, server, rule):
    server.reset()
    assert ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []


# ----------------------------------------------------------------------------------- pulls on /v2/


@pytest.mark.parametrize(
    ("auth", "arn", "anonymous"),
    [
        ("none", None, False),
        ("basic", GOOD, False),
        ("bearer", GOOD, False),
        ("bearer", None, True),
    ],
)
def test_the_first_pull_creates_the_repository_and_caches_the_image(ecr, server, stub, auth, arn, anonymous):
    stub.auth, stub.anonymous = auth, anonymous
    digest = stub.add_image("lib/app", "v1")
    create_rule(ecr, **({"credentialArn": arn} if arn else {}))
    status, headers, body = fetch(server, "quay/lib/app/manifests/v1", "HEAD")
    assert (status, headers["Docker-Content-Digest"], body) == (200, digest, b"")
    assert pull(server, "quay/lib/app", "v1") == digest
    (repository,) = ecr.describe_repositories()["repositories"]
    assert repository["repositoryName"] == "quay/lib/app"
    assert repository["imageTagMutability"] == "MUTABLE"
    assert repository["encryptionConfiguration"] == {"encryptionType": "AES256"}
    (image,) = ecr.describe_images(repositoryName="quay/lib/app")["imageDetails"]
    assert (image["imageDigest"], image["imageTags"]) == (digest, ["v1"])
    assert image["imageSizeInBytes"] == sum(len(stub.blobs[blob]) for blob in stub.layers_of("lib/app", "v1"))
    assert image["lastRecordedPullTime"] >= image["imagePushedAt"]
    # All of it is in the cache now.
    stub.fail_with = 500
    assert pull(server, "quay/lib/app", "v1") == digest
    assert stub.asked("GET") == 3


def test_a_repository_is_created_by_the_template(ecr, server, stub, rule):
    stub.add_image("app", "v1")
    ecr.create_repository_creation_template(
        prefix="quay", appliedFor=["PULL_THROUGH_CACHE"], imageTagMutability="IMMUTABLE"
    )
    pull(server, "quay/app", "v1")
    (repository,) = ecr.describe_repositories()["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"


def test_nothing_is_cached_where_the_template_lacks_its_role(ecr, server, stub, rule):
    stub.add_image("app", "v1")
    ecr.create_repository_creation_template(
        prefix="quay", appliedFor=["PULL_THROUGH_CACHE"], resourceTags=[{"Key": "a", "Value": "b"}]
    )
    assert code_of(fetch(server, "quay/app/manifests/v1")) == (404, "NAME_UNKNOWN")
    assert ecr.describe_repositories()["repositories"] == []


def test_an_image_is_pulled_by_its_digest(ecr, server, stub, rule):
    digest = stub.add_image("app", None)
    assert pull(server, "quay/app", digest) == digest
    assert images_of(ecr, "quay/app") == {digest: []}


@pytest.mark.parametrize(
    ("rule_of", "name", "upstream"),
    [
        ({"prefix": "ROOT"}, "lib/app", "lib/app"),
        ({"prefix": "my", "upstreamRepositoryPrefix": "their/lib"}, "my/app/one", "their/lib/app/one"),
        ({"prefix": "my", "upstreamRepositoryPrefix": "my"}, "my/app", "my/app"),
        ({"prefix": "my/own", "upstreamRepositoryPrefix": "ROOT"}, "my/own/app", "app"),
    ],
)
def test_prefixes_map_names_to_the_upstreams(ecr, server, stub, rule_of, name, upstream):
    create_rule(ecr, **rule_of)
    digest = stub.add_image(upstream, "v1")
    assert pull(server, name, "v1") == digest


def test_the_rule_of_the_longest_prefix_is_used(ecr, server, stub):
    create_rule(ecr, "ROOT", "registry.k8s.io")
    create_rule(ecr, "my", "registry.k8s.io")
    create_rule(ecr, "my/own")
    digest = stub.add_image("app", "v1")
    assert pull(server, "my/own/app", "v1") == digest


def test_redirects_are_followed_without_credentials(ecr, server, stub):
    stub.auth, stub.redirect_blobs = "basic", True
    stub.add_image("app", "v1")
    create_rule(ecr, credentialArn=GOOD)
    pull(server, "quay/app", "v1")
    assert stub.seen_elsewhere == [None, None]


def test_an_upstream_is_another_emulator_with_tokens():
    with BackgroundServer(Settings(data_dir=":memory:", port=0, auth="token")) as other:
        there = client_of(other)
        there.create_repository(repositoryName="app")
        digest = put_image(there, "app", "v1")
        token = there.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        user, _, password = base64.b64decode(token).decode().partition(":")
        url = f"http://{user}:{password}@{other.address}"
        artifact = put_artifact(there, "app", "v1")
        settings = Settings(data_dir=":memory:", port=0, upstreams={"quay.io": url})
        with BackgroundServer(settings) as here:
            create_rule(client_of(here))
            assert pull(here, "quay/app", "v1") == digest
            assert referrers_over_v2(here, "quay/app", digest) == [artifact]
            assert referrers_of(client_of(here), "quay/app", digest) == [artifact]
        without = Settings(data_dir=":memory:", port=0, upstreams={"quay.io": other.url})
        with BackgroundServer(without) as here:
            create_rule(client_of(here))
            assert code_of(fetch(here, "quay/app/manifests/v1")) == (403, "DENIED")


def test_an_index_is_cached_with_all_its_images(ecr, server, stub, rule):
    small = stub.add_image("app", None, "s")
    large = stub.add_image("app", None, "large")
    index = stub.add_index("app", "v1", small, large)
    assert pull(server, "quay/app", "v1") == index
    assert images_of(ecr, "quay/app") == {index: ["v1"]}
    assert pull(server, "quay/app", small) == small
    assert run(server) == 4  # The index, twice, and its images.
    assert images_of(ecr, "quay/app") == {index: ["v1"], small: [], large: []}
    sizes = {
        image["imageDigest"]: image["imageSizeInBytes"]
        for image in ecr.describe_images(repositoryName="quay/app")["imageDetails"]
    }
    assert sizes[index] == sizes[large] > sizes[small]
    stub.fail_with = 500
    for digest in (small, large):
        assert pull(server, "quay/app", digest) == digest


def test_an_index_is_cached_without_an_image_that_the_upstream_lacks(ecr, server, stub, rule):
    kept, lost = stub.add_image("app", None, "kept"), stub.add_image("app", None, "lost")
    index = stub.add_index("app", "v1", kept, lost)
    del stub.manifests["app", lost]
    assert pull(server, "quay/app", "v1") == index
    run(server)
    assert images_of(ecr, "quay/app") == {index: ["v1"], kept: []}
    assert code_of(fetch(server, f"quay/app/manifests/{lost}")) == (404, "MANIFEST_UNKNOWN")


# ------------------------------------------------------------------------------------- pulls by API


def test_the_api_pulls_through_too(ecr, server, stub, rule):
    digest = stub.add_image("app", "v1")
    answer = ecr.batch_get_image(repositoryName="quay/app", imageIds=[{"imageTag": "v1"}])
    assert answer["failures"] == []
    assert answer["images"][0]["imageId"] == {"imageDigest": digest, "imageTag": "v1"}
    assert answer["images"][0]["imageManifest"].encode() == stub.manifests["app", "v1"][1]
    for layer in stub.layers_of("app", "v1"):
        url = ecr.get_download_url_for_layer(repositoryName="quay/app", layerDigest=layer)["downloadUrl"]
        with urllib.request.urlopen(url) as response:
            assert response.read() == stub.blobs[layer]


def test_a_layer_is_available_once_it_is_in_the_cache(ecr, server, stub, rule):
    stub.add_image("app", "v1")
    layers = stub.layers_of("app", "v1")
    ecr.batch_get_image(repositoryName="quay/app", imageIds=[{"imageTag": "v1"}])

    def availability():
        checked = ecr.batch_check_layer_availability(repositoryName="quay/app", layerDigests=layers)
        return [layer["layerAvailability"] for layer in checked["layers"]]

    assert availability() == ["UNAVAILABLE", "UNAVAILABLE"]
    status, headers, _ = fetch(server, f"quay/app/blobs/{layers[1]}", "HEAD")
    assert (status, int(headers["Content-Length"])) == (200, len(stub.blobs[layers[1]]))
    assert availability() == ["UNAVAILABLE", "AVAILABLE"]
    assert run(server) == 1
    assert availability() == ["AVAILABLE", "AVAILABLE"]


def test_some_images_of_a_batch_can_fail(ecr, stub, rule):
    digest = stub.add_image("app", "v1")
    answer = ecr.batch_get_image(
        repositoryName="quay/app", imageIds=[{"imageTag": "v1"}, {"imageTag": "v2"}, {"imageTag": "!"}]
    )
    assert [image["imageId"]["imageDigest"] for image in answer["images"]] == [digest]
    assert [failure["failureCode"] for failure in answer["failures"]] == ["ImageNotFound", "InvalidImageTag"]


# ------------------------------------------------------------------------------------------ failures


FAILURES = [
    (401, 403, "DENIED", "UpstreamAccessDenied"),
    (403, 403, "DENIED", "UpstreamAccessDenied"),
    (429, 429, "TOOMANYREQUESTS", "UpstreamTooManyRequests"),
    (500, 503, "UNAVAILABLE", "UpstreamUnavailable"),
]


@pytest.mark.parametrize(("upstream", "status", "oci", "failure"), FAILURES)
def test_an_upstreams_refusal_is_told_on_both_planes(ecr, server, stub, rule, upstream, status, oci, failure):
    stub.fail_with = upstream
    assert code_of(fetch(server, "quay/app/manifests/v1")) == (status, oci)
    answer = ecr.batch_get_image(repositoryName="quay/app", imageIds=[{"imageTag": "v1"}])
    assert [entry["failureCode"] for entry in answer["failures"]] == [failure]
    assert ecr.describe_repositories()["repositories"] == []


@pytest.mark.parametrize(("upstream", "status", "oci", "failure"), FAILURES)
def test_an_upstreams_refusal_of_a_layer_is_told_on_both_planes(
    ecr, server, stub, rule, upstream, status, oci, failure
):
    stub.add_image("app", "v1")
    layer = stub.layers_of("app", "v1")[0]
    assert fetch(server, "quay/app/manifests/v1")[0] == 200
    stub.fail_with = upstream
    assert code_of(fetch(server, f"quay/app/blobs/{layer}")) == (status, oci)
    with pytest.raises(ecr.exceptions.UnableToGetUpstreamLayerException):
        ecr.get_download_url_for_layer(repositoryName="quay/app", layerDigest=layer)
    stub.fail_with = None
    assert pull(server, "quay/app", "v1")


def test_an_upstream_that_is_down_is_unavailable(ecr, server):
    create_rule(ecr, "k8s", "registry.k8s.io")
    assert code_of(fetch(server, "k8s/pause/manifests/3")) == (503, "UNAVAILABLE")
    answer = ecr.batch_get_image(repositoryName="k8s/pause", imageIds=[{"imageTag": "3"}])
    assert [entry["failureCode"] for entry in answer["failures"]] == ["UpstreamUnavailable"]


def test_what_the_upstream_lacks_is_not_found(ecr, server, stub, rule):
    assert code_of(fetch(server, "quay/app/manifests/v1")) == (404, "NAME_UNKNOWN")
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.batch_get_image(repositoryName="quay/app", imageIds=[{"imageTag": "v1"}])
    stub.add_image("app", "v1")
    pull(server, "quay/app", "v1")
    assert code_of(fetch(server, "quay/app/manifests/v2")) == (404, "MANIFEST_UNKNOWN")
    answer = ecr.batch_get_image(repositoryName="quay/app", imageIds=[{"imageTag": "v2"}])
    assert [entry["failureCode"] for entry in answer["failures"]] == ["ImageNotFound"]


def test_a_layer_that_the_upstream_lost_is_not_found(ecr, server, stub, rule):
    stub.add_image("app", "v1")
    layer = stub.layers_of("app", "v1")[0]
    assert fetch(server, "quay/app/manifests/v1")[0] == 200
    del stub.blobs[layer]
    assert code_of(fetch(server, f"quay/app/blobs/{layer}")) == (404, "BLOB_UNKNOWN")
    with pytest.raises(ecr.exceptions.LayersNotFoundException):
        ecr.get_download_url_for_layer(repositoryName="quay/app", layerDigest=layer)


def test_a_layer_that_no_image_names_is_not_asked_for(ecr, server, stub, rule):
    stub.add_image("app", "v1")
    fetch(server, "quay/app/manifests/v1")
    stub.blobs[sha256(b"other")] = b"other"
    assert code_of(fetch(server, f"quay/app/blobs/{sha256(b'other')}")) == (404, "BLOB_UNKNOWN")
    assert stub.asked("GET", "/blobs/") == 0


@pytest.mark.parametrize("arn", [WRONG, None])
@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_credentials_that_are_not_taken_are_denied(ecr, server, stub, auth, arn):
    stub.auth = auth
    stub.add_image("app", "v1")
    create_rule(ecr, **({"credentialArn": arn} if arn else {}))
    assert code_of(fetch(server, "quay/app/manifests/v1")) == (403, "DENIED")
    answer = ecr.batch_get_image(repositoryName="quay/app", imageIds=[{"imageTag": "v1"}])
    assert [entry["failureCode"] for entry in answer["failures"]] == ["UpstreamAccessDenied"]


def test_a_secret_of_no_use_is_told_on_both_planes(ecr, server, stub):
    stub.add_image("app", "v1")
    create_rule(ecr, credentialArn=GOOD)
    assert fetch(server, "quay/app/manifests/v1")[0] == 200
    layer = stub.layers_of("app", "v1")[0]
    ecr.update_pull_through_cache_rule(ecrRepositoryPrefix="quay", credentialArn=KEYLESS)
    assert code_of(fetch(server, "quay/app/manifests/v2")) == (403, "DENIED")
    with pytest.raises(ecr.exceptions.UnableToGetUpstreamImageException, match="accessToken"):
        ecr.batch_get_image(repositoryName="quay/app", imageIds=[{"imageTag": "v2"}])
    with pytest.raises(ecr.exceptions.UnableToGetUpstreamLayerException, match="accessToken"):
        ecr.get_download_url_for_layer(repositoryName="quay/app", layerDigest=layer)


def test_a_token_that_ends_before_its_time_is_fetched_again(ecr, server, stub):
    stub.auth = "bearer"
    stub.add_image("app", "v1")
    create_rule(ecr, credentialArn=GOOD)
    assert fetch(server, "quay/app/manifests/v1")[0] == 200
    stub.tokens.clear()
    assert pull(server, "quay/app", "v1")


@pytest.mark.parametrize("wrong", [b"", b"x" * 9999])
def test_bytes_with_another_digest_are_not_cached(ecr, server, stub, rule, wrong):
    stub.add_image("app", "v1")
    layer = stub.layers_of("app", "v1")[1]
    good, stub.blobs[layer] = stub.blobs[layer], wrong
    assert fetch(server, "quay/app/manifests/v1")[0] == 200
    assert code_of(fetch(server, f"quay/app/blobs/{layer}")) == (503, "UNAVAILABLE")
    stub.blobs[layer] = good
    assert fetch(server, f"quay/app/blobs/{layer}")[2] == good


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("application/vnd.oci.image.manifest.v1+json", b"not JSON"),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", b'{"schemaVersion": 1}'),
        ("application/vnd.oci.image.manifest.v1+json", b"{" + b" " * 4 * 1024 * 1024 + b"}"),
    ],
)
def test_a_manifest_that_ecr_does_not_take_is_not_cached(ecr, server, stub, rule, media_type, content):
    stub.add_manifest("app", "v1", media_type, content)
    assert code_of(fetch(server, "quay/app/manifests/v1")) == (503, "UNAVAILABLE")
    assert ecr.describe_repositories()["repositories"] == []


def test_a_manifest_with_another_digest_is_not_cached(ecr, server, stub, rule):
    digest = stub.add_image("app", "v1")
    other = stub.add_image("app", "v2", "other")
    stub.manifests["app", digest] = stub.manifests["app", other]
    assert code_of(fetch(server, f"quay/app/manifests/{digest}")) == (503, "UNAVAILABLE")
    assert ecr.describe_repositories()["repositories"] == []


# ------------------------------------------------------------------------------------------- refresh


def test_a_tag_is_compared_once_a_day(ecr, server, stub, rule):
    digest = stub.add_image("app", "v1")
    pull(server, "quay/app", "v1")
    asked = len(stub.requests)
    server.advance_clock(DAY - 60)
    pull(server, "quay/app", "v1")
    assert len(stub.requests) == asked
    server.advance_clock(60)
    assert pull(server, "quay/app", "v1") == digest
    assert stub.requests[asked:] == [("HEAD", "/v2/app/manifests/v1")]
    pull(server, "quay/app", "v1")
    assert len(stub.requests) == asked + 1
    # By digest there is nothing to compare.
    server.advance_clock(DAY)
    pull(server, "quay/app", digest)
    assert len(stub.requests) == asked + 1


@pytest.mark.parametrize("names_digests", [True, False])
def test_a_tag_that_moved_is_fetched_again(ecr, server, stub, rule, names_digests):
    stub.names_digests = names_digests
    old = stub.add_image("app", "v1")
    pull(server, "quay/app", "v1")
    new = stub.add_image("app", "v1", "new")
    assert pull(server, "quay/app", "v1") == old
    server.advance_clock(DAY)
    answer = ecr.batch_get_image(repositoryName="quay/app", imageIds=[{"imageTag": "v1"}])
    assert answer["images"][0]["imageId"]["imageDigest"] == new
    assert images_of(ecr, "quay/app") == {old: [], new: ["v1"]}


def test_immutable_tags_are_not_moved(ecr, server, stub, rule):
    old = stub.add_image("app", "v1")
    pull(server, "quay/app", "v1")
    ecr.put_image_tag_mutability(repositoryName="quay/app", imageTagMutability="IMMUTABLE")
    stub.add_image("app", "v1", "new")
    server.advance_clock(DAY)
    assert pull(server, "quay/app", "v1") == old


@pytest.mark.parametrize("trouble", ["down", "gone", "secret"])
def test_the_cache_answers_when_the_upstream_does_not(ecr, server, stub, trouble):
    create_rule(ecr, credentialArn=GOOD)
    digest = stub.add_image("app", "v1")
    pull(server, "quay/app", "v1")
    server.advance_clock(DAY)
    if trouble == "down":
        stub.fail_with = 500
    elif trouble == "gone":
        stub.manifests.clear()
    else:
        ecr.update_pull_through_cache_rule(ecrRepositoryPrefix="quay", credentialArn=KEYLESS)
    assert pull(server, "quay/app", "v1") == digest
    answer = ecr.batch_get_image(repositoryName="quay/app", imageIds=[{"imageTag": "v1"}])
    assert answer["failures"] == []


def test_a_tag_that_was_pushed_is_not_taken_from_the_upstream(ecr, server, stub, rule):
    ecr.create_repository(repositoryName="quay/app")
    pushed = put_image(ecr, "quay/app", "v1", "pushed")
    stub.add_image("app", "v1")
    upstream = stub.add_image("app", "v2", "other")
    assert pull(server, "quay/app", "v1") == pushed
    assert pull(server, "quay/app", "v2") == upstream
    pushed_over = put_image(ecr, "quay/app", "v2", "pushed over")
    server.advance_clock(DAY)
    assert pull(server, "quay/app", "v1") == pushed
    assert pull(server, "quay/app", "v2") == pushed_over


def test_the_cache_outlives_its_rule(ecr, server, stub, rule):
    digest = stub.add_image("app", "v1")
    pull(server, "quay/app", "v1")
    ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="quay")
    server.advance_clock(DAY)
    asked = len(stub.requests)
    assert pull(server, "quay/app", "v1") == digest
    assert code_of(fetch(server, "quay/app/manifests/v2")) == (404, "MANIFEST_UNKNOWN")
    assert len(stub.requests) == asked


# ----------------------------------------------------------------------------------------- referrers


def referrers_of(ecr, name, digest, **given):
    """List referrers by the API; return their digests."""
    answer = ecr.list_image_referrers(repositoryName=name, subjectId={"imageDigest": digest}, **given)
    return [entry["digest"] for entry in answer["referrers"]]


def referrers_over_v2(server, name, digest, query=""):
    status, _, body = fetch(server, f"{name}/referrers/{digest}{query}")
    assert status == 200, body
    return [entry["digest"] for entry in json.loads(body)["manifests"]]


def put_artifact(client, name, tag):
    """Put an image by the API whose subject is the tagged one and which is the same otherwise."""
    answer = client.batch_get_image(repositoryName=name, imageIds=[{"imageTag": tag}])
    [image] = answer["images"]
    manifest = json.loads(image["imageManifest"])
    digest = image["imageId"]["imageDigest"]
    manifest["subject"] = {"mediaType": manifest["mediaType"], "digest": digest, "size": 1}
    put = client.put_image(repositoryName=name, imageManifest=json.dumps(manifest))
    return put["image"]["imageId"]["imageDigest"]


@pytest.fixture
def subject(server, stub, rule):
    """An image that was pulled through, and of which no referrers were listed."""
    digest = stub.add_image("app", "v1")
    assert pull(server, "quay/app", "v1") == digest
    return digest


@pytest.mark.parametrize("first", ["api", "v2"])
@pytest.mark.parametrize(("auth", "arn"), [("none", None), ("basic", GOOD), ("bearer", GOOD)])
def test_both_planes_list_the_referrers_that_the_upstream_has(ecr, server, stub, auth, arn, first):
    stub.auth, stub.referrers_in_page = auth, 2
    create_rule(ecr, **({"credentialArn": arn} if arn else {}))
    subject = stub.add_image("app", "v1")
    assert pull(server, "quay/app", "v1") == subject
    kinds = ["application/vnd.example.sbom", "application/vnd.example.signature"] * 2 + ["text/other"]
    artifacts = [
        stub.add_artifact("app", subject, f"artifact {number}", artifactType=kind)
        for number, kind in enumerate(kinds)
    ]
    ways = [
        lambda: referrers_of(ecr, "quay/app", subject),
        lambda: referrers_over_v2(server, "quay/app", subject),
    ]
    for listed in ways if first == "api" else reversed(ways):
        assert listed() == artifacts
    chosen = {"filter": {"artifactTypes": [kinds[0]]}}
    assert referrers_of(ecr, "quay/app", subject, **chosen) == [artifacts[0], artifacts[2]]
    assert referrers_over_v2(server, "quay/app", subject, f"?artifactType={kinds[1]}") == [
        artifacts[1],
        artifacts[3],
    ]
    assert referrers_of(ecr, "quay/app", artifacts[0]) == []
    assert stub.asked("GET", f"/referrers/{subject}") == 3
    assert images_of(ecr, "quay/app") == {subject: ["v1"], **{digest: [] for digest in artifacts}}


def test_referrers_are_pulled_by_digest_and_made_whole(ecr, server, stub, subject):
    artifacts = [stub.add_artifact("app", subject, f"artifact {number}") for number in range(2)]
    assert referrers_of(ecr, "quay/app", subject) == artifacts
    assert pull(server, "quay/app", artifacts[0]) == artifacts[0]
    assert run(server) == 3
    stub.fail_with = 500
    assert [pull(server, "quay/app", digest) for digest in artifacts] == artifacts
    assert stub.asked("GET", f"/manifests/{artifacts[0]}") == 1


def test_referrers_are_listed_before_their_subject_is_pulled(ecr, server, stub, rule):
    subject = stub.add_image("app", "v1")
    assert code_of(fetch(server, f"quay/app/referrers/{subject}")) == (404, "NAME_UNKNOWN")
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        referrers_of(ecr, "quay/app", subject)
    artifact = stub.add_artifact("app", subject, "artifact")
    assert referrers_over_v2(server, "quay/app", subject) == [artifact]
    assert referrers_of(ecr, "quay/app", subject) == [artifact]
    assert images_of(ecr, "quay/app") == {artifact: []}
    assert stub.asked("GET", f"/referrers/{subject}") == 3


def test_referrers_are_asked_for_once_a_day(ecr, server, stub, subject):
    assert referrers_of(ecr, "quay/app", subject) == []
    artifact = stub.add_artifact("app", subject, "artifact")
    server.advance_clock(DAY - 60)
    assert referrers_over_v2(server, "quay/app", subject) == []
    assert stub.asked("GET", "/referrers/") == 1
    server.advance_clock(60)
    assert referrers_over_v2(server, "quay/app", subject) == [artifact]
    # What the upstream has no more stays, as the cache of an image does.
    del stub.manifests["app", artifact]
    server.advance_clock(DAY)
    assert referrers_of(ecr, "quay/app", subject) == [artifact]
    assert stub.asked("GET", "/referrers/") == 3
    assert stub.asked("GET", f"/manifests/{artifact}") == 1


def test_referrers_come_again_with_a_subject_that_was_deleted(ecr, server, stub, subject):
    artifact = stub.add_artifact("app", subject, "artifact")
    assert referrers_of(ecr, "quay/app", subject) == [artifact]
    both = [{"imageDigest": digest} for digest in (subject, artifact)]
    assert ecr.batch_delete_image(repositoryName="quay/app", imageIds=both)["failures"] == []
    assert pull(server, "quay/app", "v1") == subject
    assert referrers_of(ecr, "quay/app", subject) == [artifact]


@pytest.mark.parametrize(("upstream", "status", "oci"), [failure[:3] for failure in FAILURES])
def test_referrers_are_those_of_the_cache_once_they_were_listed(
    ecr, server, stub, subject, upstream, status, oci
):
    artifact = stub.add_artifact("app", subject, "artifact")
    stub.fail_with = upstream
    assert code_of(fetch(server, f"quay/app/referrers/{subject}")) == (status, oci)
    with pytest.raises(ecr.exceptions.UnableToListUpstreamImageReferrersException, match="upstream registry"):
        referrers_of(ecr, "quay/app", subject)
    stub.fail_with = None
    assert referrers_of(ecr, "quay/app", subject) == [artifact]
    server.advance_clock(DAY)
    stub.fail_with = upstream
    assert referrers_of(ecr, "quay/app", subject) == [artifact]
    assert referrers_over_v2(server, "quay/app", subject) == [artifact]


def test_a_secret_of_no_use_is_told_to_who_lists_referrers(ecr, server, stub):
    create_rule(ecr, credentialArn=KEYLESS)
    subject = stub.add_image("app", "v1")
    assert code_of(fetch(server, f"quay/app/referrers/{subject}")) == (403, "DENIED")
    with pytest.raises(ecr.exceptions.UnableToListUpstreamImageReferrersException, match="accessToken"):
        referrers_of(ecr, "quay/app", subject)


def test_a_list_is_not_taken_for_whole_where_a_referrer_could_not_be_had(ecr, server, stub, subject):
    good, bad = (stub.add_artifact("app", subject, seed) for seed in ("good", "bad"))
    kept = stub.manifests["app", bad]
    stub.manifests["app", bad] = (kept[0], kept[1] + b" ")
    with pytest.raises(ecr.exceptions.UnableToListUpstreamImageReferrersException):
        referrers_of(ecr, "quay/app", subject)
    stub.manifests["app", bad] = kept
    assert referrers_of(ecr, "quay/app", subject) == [good, bad]


def test_a_listed_referrer_that_the_upstream_lacks_is_left_out(ecr, server, stub, subject):
    kept, lost = (stub.add_artifact("app", subject, seed) for seed in ("kept", "lost"))
    stub.lost.add(lost)
    assert referrers_over_v2(server, "quay/app", subject) == [kept]
    assert referrers_of(ecr, "quay/app", subject) == [kept]
    assert stub.asked("GET", "/referrers/") == 1


def test_an_upstream_without_the_referrers_api_has_none(ecr, server, stub, subject):
    stub.lists_referrers = False
    pushed = json.loads(stub.manifests["app", subject][1])
    pushed["subject"] = {"mediaType": pushed["mediaType"], "digest": subject, "size": 1}
    assert referrers_of(ecr, "quay/app", subject) == []
    ecr.put_image(repositoryName="quay/app", imageManifest=json.dumps(pushed))
    listed = referrers_over_v2(server, "quay/app", subject)
    assert listed == [sha256(json.dumps(pushed).encode())] == referrers_of(ecr, "quay/app", subject)
    assert stub.asked("GET", "/referrers/") == 1


@pytest.mark.parametrize("first", ["api", "v2"])
@pytest.mark.parametrize(("auth", "arn"), [("none", None), ("bearer", GOOD)])
def test_referrers_are_those_under_a_tag_where_the_upstream_has_no_api_for_them(
    ecr, server, stub, auth, arn, first
):
    stub.lists_referrers, stub.auth = False, auth
    create_rule(ecr, **({"credentialArn": arn} if arn else {}))
    subject = stub.add_image("app", "v1")
    artifacts = [stub.add_artifact("app", subject, f"artifact {number}") for number in range(2)]
    # An image that names another subject, or none, is no referrer whatever the list says.
    stranger = stub.add_image("app", None, "stranger")
    stub.tag_referrers("app", subject, *artifacts, stranger)
    assert pull(server, "quay/app", "v1") == subject
    ways = [
        lambda: referrers_of(ecr, "quay/app", subject),
        lambda: referrers_over_v2(server, "quay/app", subject),
    ]
    for listed in ways if first == "api" else reversed(ways):
        assert listed() == artifacts
    assert stub.asked("GET", "/referrers/") == 1
    # The list itself is the upstream's means, and no image of the cache's.
    assert images_of(ecr, "quay/app") == {subject: ["v1"], **{each: [] for each in (*artifacts, stranger)}}
    assert [pull(server, "quay/app", digest) for digest in artifacts] == artifacts


def test_referrers_under_a_tag_are_asked_for_once_a_day(ecr, server, stub, subject):
    stub.lists_referrers = False
    assert referrers_of(ecr, "quay/app", subject) == []
    artifact = stub.add_artifact("app", subject, "artifact")
    stub.tag_referrers("app", subject, artifact)
    assert referrers_of(ecr, "quay/app", subject) == []
    server.advance_clock(DAY)
    assert referrers_of(ecr, "quay/app", subject) == [artifact]
    assert stub.asked("GET", "/manifests/sha256-") == 2


def test_a_tag_for_referrers_with_an_image_that_lists_none_is_told(ecr, server, stub, subject):
    stub.lists_referrers = False
    stub.add_image("app", subject.replace(":", "-"), "other")
    assert code_of(fetch(server, f"quay/app/referrers/{subject}")) == (503, "UNAVAILABLE")
    with pytest.raises(
        ecr.exceptions.UnableToListUpstreamImageReferrersException, match="index of referrers"
    ):
        referrers_of(ecr, "quay/app", subject)


def test_a_list_under_a_tag_that_is_too_large_is_told(ecr, server, stub, subject):
    stub.lists_referrers = False
    stub.add_manifest("app", subject.replace(":", "-"), OCI_INDEX, b" " * (4 << 20) + b"{}")
    with pytest.raises(ecr.exceptions.UnableToListUpstreamImageReferrersException, match="more than 4194304"):
        referrers_of(ecr, "quay/app", subject)


@pytest.mark.parametrize(("upstream", "status", "oci"), [failure[:3] for failure in FAILURES])
def test_an_upstream_that_fails_to_list_referrers_is_not_asked_for_the_tag(
    server, stub, subject, upstream, status, oci
):
    stub.fail_with = upstream
    assert code_of(fetch(server, f"quay/app/referrers/{subject}")) == (status, oci)
    assert stub.asked("GET", "/manifests/sha256-") == 0


@pytest.mark.parametrize("suffix", [".sig", ".att", ".sbom"])
def test_tags_that_cosign_makes_of_digests_are_pulled_through_as_others(ecr, server, stub, subject, suffix):
    tag = subject.replace(":", "-") + suffix
    assert code_of(fetch(server, f"quay/app/manifests/{tag}")) == (404, "MANIFEST_UNKNOWN")
    signature = stub.add_image("app", tag, "signature")
    assert pull(server, "quay/app", tag) == signature
    assert images_of(ecr, "quay/app") == {subject: ["v1"], signature: [tag]}
    assert referrers_of(ecr, "quay/app", subject) == []


@pytest.mark.parametrize("link", ["http://localhost:{port}/elsewhere/list", "http://[", "mailto:a"])
def test_a_list_of_referrers_that_leads_elsewhere_is_not_followed(ecr, server, stub, subject, link):
    stub.link_to = link.format(port=stub.port)
    assert code_of(fetch(server, f"quay/app/referrers/{subject}")) == (503, "UNAVAILABLE")
    assert stub.seen_elsewhere == []


def test_a_list_of_referrers_without_end_is_given_up(ecr, server, stub, subject):
    stub.link_to = f"/v2/app/referrers/{subject}"
    assert code_of(fetch(server, f"quay/app/referrers/{subject}")) == (503, "UNAVAILABLE")
    assert stub.asked("GET", "/referrers/") == 100


def test_more_referrers_than_are_taken_are_told(ecr, server, stub, subject, monkeypatch):
    for number in range(3):
        stub.add_artifact("app", subject, f"artifact {number}")
    for module in ("core.pulls", "engines.upstreams"):
        monkeypatch.setattr(f"ecr_emulator.{module}.MAX_REFERRERS", 2)
    with pytest.raises(ecr.exceptions.UnableToListUpstreamImageReferrersException, match="more than 2"):
        referrers_of(ecr, "quay/app", subject)


@contextlib.contextmanager
def small_server(stub, **quotas):
    """A server with small quotas and a rule for the stub."""
    upstreams = {"quay.io": stub.url}
    settings = Settings(data_dir=":memory:", port=0, engines="off", upstreams=upstreams, quotas=quotas)
    with BackgroundServer(settings) as server:
        create_rule(client_of(server))
        yield server


def assert_full(server, name, tag, of_what):
    """Check that both planes refuse to pull an image for which the cache has no room."""
    ecr = client_of(server)
    with pytest.raises(ecr.exceptions.LimitExceededException, match=f"maximum allowed number of {of_what}"):
        ecr.batch_get_image(repositoryName=name, imageIds=[{"imageTag": tag}])
    assert code_of(fetch(server, f"{name}/manifests/{tag}")) == (403, "DENIED")


def test_a_full_registry_caches_no_image_of_a_new_repository(stub):
    stub.reset()
    digest = stub.add_image("app", "v1")
    with small_server(stub, registered_repositories=1) as server:
        ecr = client_of(server)
        ecr.create_repository(repositoryName="mine")
        assert_full(server, "quay/app", "v1", "repositories")
        ecr.delete_repository(repositoryName="mine")
        assert pull(server, "quay/app", "v1") == digest


def test_a_full_repository_caches_no_further_image(stub):
    stub.reset()
    old, _ = (stub.add_image("app", tag, tag) for tag in ("v1", "v2"))
    with small_server(stub, images_per_repository=1) as server:
        ecr = client_of(server)
        assert pull(server, "quay/app", "v1") == old
        assert_full(server, "quay/app", "v2", "images")
        # A tag that moved stays where it was, as when the upstream can't be asked.
        stub.add_image("app", "v1", "newer")
        server.advance_clock(DAY)
        assert pull(server, "quay/app", "v1") == old
        answer = ecr.batch_get_image(repositoryName="quay/app", imageIds=[{"imageTag": "v1"}])
        assert [image["imageId"]["imageDigest"] for image in answer["images"]] == [old]


def test_a_full_repository_takes_no_referrers(stub):
    stub.reset()
    subject = stub.add_image("app", "v1")
    stub.add_artifact("app", subject, "artifact")
    with small_server(stub, images_per_repository=1) as server:
        ecr = client_of(server)
        pull(server, "quay/app", "v1")
        with pytest.raises(ecr.exceptions.UnableToListUpstreamImageReferrersException, match="maximum"):
            referrers_of(ecr, "quay/app", subject)
        assert code_of(fetch(server, f"quay/app/referrers/{subject}")) == (403, "DENIED")


def test_referrers_of_another_account_of_the_emulator_are_cached(ecr, server):
    there = client_of(server, "111111111111", "eu-west-1")
    there.create_repository(repositoryName="app")
    subject = put_image(there, "app", "v1")
    artifact = put_artifact(there, "app", "v1")
    create_rule(ecr, "other", "111111111111.dkr.ecr.eu-west-1.amazonaws.com", customRoleArn=ROLE)
    assert referrers_of(ecr, "other/app", subject) == [artifact]
    there.delete_repository(repositoryName="app", force=True)
    server.advance_clock(DAY)
    assert referrers_of(ecr, "other/app", subject) == [artifact]
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        referrers_of(ecr, "other/none", subject)


def test_what_several_clients_list_is_asked_for_once(ecr, server, stub, subject):
    artifact = stub.add_artifact("app", subject, "artifact")
    asked = len(stub.requests)
    stub.gate.clear()
    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(referrers_over_v2, server, "quay/app", subject) for _ in range(4)]
        wait_for(lambda: len(stub.requests) > asked)
        # Time for the others to ask as well, if they did.
        time.sleep(0.2)
        stub.gate.set()
        assert [answer.result() for answer in answers] == [[artifact]] * 4
    assert len(stub.requests) == asked + 2


# ------------------------------------------------------------------------------------- at once, later


def test_what_several_clients_want_is_fetched_once(ecr, server, stub, rule):
    stub.add_image("app", "v1")
    layer = stub.layers_of("app", "v1")[1]
    for path in ("quay/app/manifests/v1", f"quay/app/blobs/{layer}"):
        asked = len(stub.requests)
        stub.gate.clear()
        with ThreadPoolExecutor(4) as clients:
            answers = [clients.submit(fetch, server, path) for _ in range(4)]
            wait_for(lambda: len(stub.requests) > asked)  # noqa: B023 - called at once
            # Time for the others to ask as well, if they did.
            time.sleep(0.2)
            stub.gate.set()
            assert {answer.result()[0] for answer in answers} == {200}
        assert len(stub.requests) == asked + 1


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_fetch_goes_on_when_its_client_has_gone(ecr, server, stub, rule):
    stub.add_image("app", "v1")
    stub.gate.clear()
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"{server.url}/v2/quay/app/manifests/v1", timeout=0.3)
    stub.gate.set()
    wait_for(lambda: ecr.describe_repositories()["repositories"])
    assert stub.asked("GET") == 1


def test_those_who_subscribe_to_pushes_are_told_of_whole_images(ecr, server, stub, rule, monkeypatch):
    told = []

    def subscriber(tx, call, push):
        missing = images.missing_layers(tx, push.image)
        told.append((push.repository.name, push.image.digest, push.tag, push.is_new, missing))

    monkeypatch.setattr(pushes, "SUBSCRIBERS", (subscriber,))
    old = stub.add_image("app", "v1")
    pull(server, "quay/app", "v1")
    assert told == []
    assert run(server) == 1
    new = stub.add_image("app", "v1", "new")
    server.advance_clock(DAY)
    fetch(server, "quay/app/manifests/v1")
    assert run(server) == 1
    assert told == [("quay/app", old, "v1", True, []), ("quay/app", new, "v1", True, [])]
    assert run(server) == 0


def test_an_index_is_told_of_after_its_images(ecr, server, stub, rule, monkeypatch):
    told = []
    monkeypatch.setattr(
        pushes, "SUBSCRIBERS", (lambda tx, call, push: told.append((push.image.digest, push.image.size)),)
    )
    images = [stub.add_image("app", None, seed) for seed in ("a", "bb")]
    index = stub.add_index("app", "v1", *images)
    fetch(server, "quay/app/manifests/v1")
    run(server)
    assert sorted(told[:2]) == sorted((digest, size) for digest, size in told if digest in images)
    assert told[2:] == [(index, max(size for _, size in told))]


def test_an_image_that_could_not_be_made_whole_is_tried_again(ecr, server, stub, rule):
    stub.add_image("app", "v1")
    fetch(server, "quay/app/manifests/v1")
    stub.fail_with = 500
    assert run(server) == 0
    stub.fail_with = None
    assert run(server) == 1
    stub.fail_with = 500
    assert pull(server, "quay/app", "v1")


def test_an_image_that_never_becomes_whole_is_given_up(ecr, server, stub, rule):
    stub.add_image("app", "v1")
    fetch(server, "quay/app/manifests/v1")
    stub.fail_with = 500
    assert [run(server) for _ in range(5)] == [0] * 5
    stub.fail_with = None
    assert run(server) == 0
    assert pull(server, "quay/app", "v1")


def test_work_on_what_was_deleted_meanwhile_is_dropped(ecr, server, stub, rule):
    stub.add_image("app", "v1")
    stub.add_image("other", "v1")
    for name in ("app", "other"):
        fetch(server, f"quay/{name}/manifests/v1")
    ecr.delete_repository(repositoryName="quay/app", force=True)
    ecr.delete_pull_through_cache_rule(ecrRepositoryPrefix="quay")
    assert run(server) == 2
    assert stub.asked("GET", "/blobs/") == 0


def test_a_restart_loses_no_work(stub, tmp_path):
    stub.reset()
    stub.add_image("app", "v1")
    settings = Settings(data_dir=str(tmp_path), port=0, engines="off", upstreams={"quay.io": stub.url})
    with BackgroundServer(settings) as server:
        create_rule(client_of(server))
        assert fetch(server, "quay/app/manifests/v1")[0] == 200
    with BackgroundServer(settings) as server:
        assert run(server) == 1
        stub.fail_with = 500
        assert pull(server, "quay/app", "v1")


def test_the_engine_works_by_itself(stub):
    stub.reset()
    stub.add_image("app", "v1")
    settings = Settings(data_dir=":memory:", port=0, upstreams={"quay.io": stub.url})
    with BackgroundServer(settings) as server:
        create_rule(client_of(server))
        assert fetch(server, "quay/app/manifests/v1")[0] == 200
        wait_for(lambda: stub.asked("GET", "/blobs/") == 2)


def test_the_engine_tries_again_when_the_clock_says_so(stub):
    stub.reset()
    stub.add_image("app", "v1")
    settings = Settings(data_dir=":memory:", port=0, upstreams={"quay.io": stub.url})
    with BackgroundServer(settings) as server:
        create_rule(client_of(server))
        stub.blobs, kept = {}, stub.blobs
        assert fetch(server, "quay/app/manifests/v1")[0] == 200
        wait_for(lambda: stub.asked("GET", "/blobs/") == 1)
        stub.blobs = kept
        time.sleep(1.1)
        assert stub.asked("GET", "/blobs/") == 1
        server.advance_clock(60)
        wait_for(lambda: stub.asked("GET", "/blobs/") == 3)


def test_a_server_stops_while_it_fetches(stub, monkeypatch):
    monkeypatch.setattr("ecr_emulator.server.SHUTDOWN_TIMEOUT", 0.1)
    stub.reset()
    stub.add_image("app", "v1")
    stub.gate.clear()
    settings = Settings(data_dir=":memory:", port=0, engines="off", upstreams={"quay.io": stub.url})
    with BackgroundServer(settings) as server:
        create_rule(client_of(server))
        with pytest.raises(TimeoutError):
            urllib.request.urlopen(f"{server.url}/v2/quay/app/manifests/v1", timeout=0.3)
    stub.gate.set()


def test_a_server_does_not_start_without_its_secrets(tmp_path):
    settings = Settings(data_dir=":memory:", port=0, secrets=str(tmp_path / "absent.toml"))
    with pytest.raises(StartError, match="can't read the secrets in"):
        BackgroundServer(settings).start()


# ------------------------------------------------------------------------------------------- ECR to ECR


def test_another_account_of_the_emulator_is_an_upstream(ecr, server):
    there = client_of(server, "111111111111", "eu-west-1")
    there.create_repository(repositoryName="lib/app")
    digest = put_image(there, "lib/app", "v1")
    create_rule(ecr, "other", "111111111111.dkr.ecr.eu-west-1.amazonaws.com", customRoleArn=ROLE)
    host = {"Host": "000000000000.dkr.ecr.us-east-1.amazonaws.com"}
    status, headers, _ = fetch(server, "other/lib/app/manifests/v1", headers=host)
    assert (status, headers["Docker-Content-Digest"]) == (200, digest)
    assert ecr.validate_pull_through_cache_rule(ecrRepositoryPrefix="other")["isValid"] is True
    assert run(server) == 1
    there.delete_repository(repositoryName="lib/app", force=True)
    layer = sha256(b"layer seed")
    assert fetch(server, f"other/lib/app/blobs/{layer}", headers=host)[2] == b"layer seed"


def test_an_upstream_of_the_emulator_does_not_pull_through_in_turn(ecr, server, stub):
    there = client_of(server, region="eu-west-1")
    create_rule(there, "ROOT")
    create_rule(ecr, "ROOT", "000000000000.dkr.ecr.eu-west-1.amazonaws.com")
    stub.add_image("app", "v1")
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "v1"}])
    assert stub.requests == []


def test_a_setting_leads_ecr_hosts_elsewhere_too(stub):
    stub.reset()
    digest = stub.add_image("app", "v1")
    host = "111111111111.dkr.ecr.eu-west-1.amazonaws.com"
    with BackgroundServer(Settings(data_dir=":memory:", port=0, upstreams={host: stub.url})) as server:
        create_rule(client_of(server), "other", host, customRoleArn=ROLE)
        assert pull(server, "other/app", "v1") == digest
