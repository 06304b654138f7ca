"""Helm 3, which pushes a chart by its tag, and Helm 4, which pushes it by its digest and tags that."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.clients.conftest import UNTRUSTED

CHART_CONFIG = "application/vnd.cncf.helm.config.v1+json"
CONFIG_MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data: {greeting: {{ .Values.greeting | quote }}}
"""


# How they say that a push was refused, where Helm 3 keeps the registry's text to itself, and what tells
# them to log in without TLS.
WAYS = {
    "helm3": {
        "login": (),
        "immutable": "400 Bad Request",
        "no repository": "404 Not Found",
        "not logged in": "no basic auth credentials",
    },
    "helm4": {
        "login": ("--plain-http",),
        "immutable": "cannot be overwritten because the tag is immutable",
        "no repository": "The repository with name 'no/such/app' does not exist in the registry with id",
        "not logged in": "basic credential not found",
    },
}


@pytest.fixture(scope="module", params=["helm3", "helm4"])
def version(request):
    return request.param


@pytest.fixture(scope="module")
def ways(version):
    return WAYS[version]


@pytest.fixture(scope="module")
def new_helm(make_client, version):
    """Gives a Helm that is logged in nowhere."""
    return lambda: make_client(version)


@pytest.fixture(scope="module")
def helm(new_helm):
    return new_helm()


@pytest.fixture
def package(helm, tmp_path):
    """Packages a chart named ``app`` that greets; gives the archive."""

    def package(version, greeting="hello"):
        folder = tmp_path / uuid.uuid4().hex
        (folder / "app" / "templates").mkdir(parents=True)
        chart = {"apiVersion": "v2", "name": "app", "version": version, "description": greeting}
        (folder / "app" / "Chart.yaml").write_text(json.dumps(chart))
        (folder / "app" / "values.yaml").write_text(json.dumps({"greeting": greeting}))
        (folder / "app" / "templates" / "map.yaml").write_text(CONFIG_MAP)
        helm.run("package", "--destination", folder, folder / "app")
        return folder / f"app-{version}.tgz"

    return package


@pytest.fixture
def charts(make_repository):
    """Makes a repository for the chart ``app``; gives it, and the URL of what it is in."""

    def charts(**options):
        repository = make_repository(f"charts/{uuid.uuid4().hex[:12]}/app", **options)
        return repository, f"oci://{repository.uri.removesuffix('/app')}"

    return charts


def push(helm, archive, url, *reach):
    """Push a chart and return the digest that Helm prints."""
    _, out, err = helm.call(("push", *(reach or ("--plain-http",)), archive, url), None, {})
    assert "Pushed: " in out + err, out + err
    return (out + err).partition("Digest: ")[2].split()[0]


def test_chart_is_described_as_one_and_comes_back(helm, package, charts, images_in, manifest_of, tmp_path):
    repository, url = charts()
    archive = package("1.0.0", "hello from ECR")
    digest = push(helm, archive, url)
    [described] = images_in(repository.name).values()
    assert described["imageDigest"] == digest
    assert described["imageTags"] == ["1.0.0"]
    assert described["artifactMediaType"] == CHART_CONFIG
    _, manifest = manifest_of(repository.name, "1.0.0")
    assert described["imageSizeInBytes"] == manifest["config"]["size"] + archive.stat().st_size
    helm.run("pull", "--plain-http", f"{url}/app", "--version", "1.0.0", "--destination", tmp_path)
    assert (tmp_path / "app-1.0.0.tgz").read_bytes() == archive.read_bytes()
    assert "description: hello from ECR" in helm.run("show", "chart", "--plain-http", f"{url}/app")
    rendered = helm.run("template", "--plain-http", "shop", f"{url}/app", "--version", "1.0.0")
    assert 'greeting: "hello from ECR"' in rendered


def test_newest_version_is_found_among_the_tags(helm, package, charts, ecr, tags_in):
    repository, url = charts()
    # A plus can't be in a tag: Helm writes it as an underscore.
    for version in ("1.2.0", "1.10.0+build.7", "2.0.0-rc.1"):
        push(helm, package(version), url)
    assert sorted(tag for tags in tags_in(repository.name).values() for tag in tags) == [
        "1.10.0_build.7",
        "1.2.0",
        "2.0.0-rc.1",
    ]
    show = ("show", "chart", "--plain-http", f"{url}/app")
    assert "version: 1.10.0+build.7" in helm.run(*show)
    assert "version: 1.2.0" in helm.run(*show, "--version", "<1.5")
    ecr.batch_delete_image(repositoryName=repository.name, imageIds=[{"imageTag": "1.10.0_build.7"}])
    assert "version: 1.2.0" in helm.run(*show)


def test_immutable_version_stays_and_can_be_pushed_again(helm, package, charts, tags_in, ways):
    repository, url = charts(imageTagMutability="IMMUTABLE")
    archive = package("1.0.0", "first")
    digest = push(helm, archive, url)
    assert push(helm, archive, url) == digest
    said = helm.fail("push", "--plain-http", package("1.0.0", "second"), url)
    assert ways["immutable"] in said
    assert {key: tags for key, tags in tags_in(repository.name).items() if tags} == {digest: ["1.0.0"]}
    assert "description: first" in helm.run("show", "chart", "--plain-http", f"{url}/app")


def test_push_to_a_repository_that_does_not_exist_fails(helm, package, server, ways):
    said = helm.fail("push", "--plain-http", package("1.0.0"), f"oci://{server.registry}/no/such")
    assert ways["no repository"] in said


def test_push_creates_the_repository_where_a_template_says_so(helm, package, ecr, server, tags_in):
    prefix = f"created-{uuid.uuid4().hex[:12]}"
    ecr.create_repository_creation_template(
        prefix=prefix, appliedFor=["CREATE_ON_PUSH"], imageTagMutability="IMMUTABLE"
    )
    try:
        digest = push(helm, package("1.0.0"), f"oci://{server.registry}/{prefix}")
        [made] = ecr.describe_repositories(repositoryNames=[f"{prefix}/app"])["repositories"]
        assert made["imageTagMutability"] == "IMMUTABLE"
        assert tags_in(f"{prefix}/app") == {digest: ["1.0.0"]}
    finally:
        ecr.delete_repository_creation_template(prefix=prefix)
        ecr.delete_repository(repositoryName=f"{prefix}/app", force=True)


def test_server_that_asks_for_a_token_takes_it_and_nothing_less(
    new_helm, package, token_server, token_password, ways, tmp_path
):
    helm = new_helm()
    url = f"oci://{token_server.registry}"
    archive = package("1.0.0")
    trust = ("--ca-file", token_server.ca_file) if token_server.ca_file else ()
    reach = trust or ("--plain-http",)
    login = ("registry", "login", *(trust or ways["login"]), token_server.registry)
    login = (*login, "--username", "AWS", "--password-stdin")
    assert ways["not logged in"] in helm.fail("push", *reach, archive, url)
    assert "401" in helm.fail(*login, stdin="wrong")
    helm.run(*login, stdin=token_password)
    if trust:
        assert UNTRUSTED in helm.fail("push", archive, url)
    push(helm, archive, url, *reach)
    chart = (*reach, f"{url}/app", "--version", "1.0.0")
    helm.run("pull", *chart, "--destination", tmp_path)
    assert (tmp_path / "app-1.0.0.tgz").read_bytes() == archive.read_bytes()
    assert "version: 1.0.0" in helm.run("show", "chart", *chart)
    helm.run("registry", "logout", token_server.registry)
    assert ways["not logged in"] in helm.fail("show", "chart", *chart)
