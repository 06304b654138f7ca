"""``seed``: registries come to be what a file describes, again and again."""

import gzip
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ecr_emulator.core.description import DescriptionError
from ecr_emulator.server import StartError
from ecr_emulator.testing import BackgroundServer
from tests.contract.conftest import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    connect,
    descriptor,
    image_manifest,
    sha256,
)
from tests.contract.oci_client import OciClient
from tests.contract.stores import ANY, basic, run, serving
from tests.serving import ROOT

DAY = 24 * 3600

EVERYTHING = """
replication = [{ destinations = [{ region = "eu-west-1", registryId = "111122223333" }] }]
pull_through_rules = [{ prefix = "quay", upstream_host = "quay.io" }]
pull_time_exclusions = ["arn:aws:iam::000000000000:role/scanner"]
account_settings = { BLOB_MOUNTING = "ENABLED" }
scanning = { type = "BASIC", rules = [{ frequency = "SCAN_ON_PUSH", filters = ["prod/*"] }] }
signing = [{ signingProfileArn = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/release" }]

[policy]
Version = "2012-10-17"
Statement = [
  { Effect = "Allow", Principal = { AWS = "111122223333" }, Action = "ecr:ReplicateImage", Resource = "*" },
]

[[creation_templates]]
prefix = "prod"
applied_for = ["CREATE_ON_PUSH"]
tag_mutability = "IMMUTABLE"
lifecycle_policy = { rules = [
  { rulePriority = 1, selection = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 1 }, \
action = { type = "expire" } },
] }

[[repositories]]
name = "shop/cart"
tag_mutability = "IMMUTABLE_WITH_EXCLUSION"
tag_exclusions = ["dev-*"]
scan_on_push = true
encryption_type = "KMS"
tags = { team = "shop" }
policy = '{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "ecr:PutImage"}]}'

[repositories.lifecycle_policy]
rules = [
  { rulePriority = 1, selection = { tagStatus = "tagged", tagPrefixList = ["dev"], countType = \
"sinceImagePushed", countUnit = "days", countNumber = 14 }, action = { type = "expire" } },
]

[[repositories.images]]
tags = ["v1", "dev-1"]
pushed_ago = "30d"
last_pulled_ago = "36h"
generate = { layers = [1000, 3000000], platforms = ["linux/amd64", "linux/arm64/v8"] }

[[repositories.images]]
tags = ["dev-2"]
pushed_at = 2020-01-31T12:00:00Z
generate = { layers = [{ size = 100, seed = "base" }, 50], labels = { stage = "dev" } }

[[repositories.images]]
archived = true
tags = ["old"]
generate = {}

[[registries]]
account = "111122223333"
region = "eu-west-1"
[[registries.repositories]]
name = "theirs"
images = [{ generate = { seed = "untagged" } }]
"""


@pytest.fixture
def seed_file(tmp_path: Path) -> Path:
    file = tmp_path / "seed.toml"
    file.write_text(EVERYTHING)
    return file


def details_of(ecr: Any, repository: str) -> dict[str, dict[str, Any]]:
    """The images of a repository, by their first tag."""
    found = ecr.describe_images(repositoryName=repository, filter=ANY)["imageDetails"]
    # Scans go on by themselves.
    images = [{key: value for key, value in image.items() if "Scan" not in key} for image in found]
    return {image.get("imageTags", [image["imageDigest"]])[0]: image for image in images}


def test_everything_that_is_described_is_there(server: BackgroundServer, ecr: Any, seed_file: Path) -> None:
    server.manage("clock", {"now": "2030-01-31T12:00:00Z"})
    server.seed(seed_file)
    (repository,) = ecr.describe_repositories()["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
    assert repository["imageTagMutabilityExclusionFilters"] == [{"filterType": "WILDCARD", "filter": "dev-*"}]
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    assert repository["encryptionConfiguration"]["encryptionType"] == "KMS"
    tags = ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
    assert tags == [{"Key": "team", "Value": "shop"}]
    assert "ecr:PutImage" in ecr.get_repository_policy(repositoryName="shop/cart")["policyText"]
    text = ecr.get_lifecycle_policy(repositoryName="shop/cart")["lifecyclePolicyText"]
    assert json.loads(text)["rules"][0]["selection"]["tagPrefixList"] == ["dev"]
    assert "ecr:ReplicateImage" in ecr.get_registry_policy()["policyText"]
    assert ecr.describe_registry()["replicationConfiguration"]["rules"][0]["destinations"] == [
        {"region": "eu-west-1", "registryId": "111122223333"}
    ]
    scanning = ecr.get_registry_scanning_configuration()["scanningConfiguration"]
    assert scanning["rules"][0]["repositoryFilters"] == [{"filter": "prod/*", "filterType": "WILDCARD"}]
    assert ecr.get_signing_configuration()["signingConfiguration"]["rules"]
    assert ecr.get_account_setting(name="BLOB_MOUNTING")["value"] == "ENABLED"
    (template,) = ecr.describe_repository_creation_templates()["repositoryCreationTemplates"]
    assert (template["prefix"], template["imageTagMutability"]) == ("prod", "IMMUTABLE")
    (rule,) = ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert (rule["ecrRepositoryPrefix"], rule["upstreamRegistry"]) == ("quay", "quay")
    assert len(ecr.list_pull_time_update_exclusions()["pullTimeUpdateExclusions"]) == 1
    theirs = connect(server.url, "111122223333", "eu-west-1")
    assert len(theirs.list_images(repositoryName="theirs")["imageIds"]) == 1


def test_images_have_their_times_and_can_be_pulled(
    server: BackgroundServer, ecr: Any, seed_file: Path
) -> None:
    server.manage("clock", {"now": "2030-01-31T12:00:00Z"})
    now = 1896091200
    server.seed(seed_file)
    images = details_of(ecr, "shop/cart")
    index = images["dev-1"]
    assert index["imageManifestMediaType"] == OCI_INDEX
    assert index["imageTags"] == ["dev-1", "v1"]
    assert index["imagePushedAt"].timestamp() == pytest.approx(now - 30 * DAY, abs=60)
    assert index["lastRecordedPullTime"].timestamp() == pytest.approx(now - 1.5 * DAY, abs=60)
    assert images["dev-2"]["imagePushedAt"].isoformat().startswith("2020-01-31T")
    assert images["old"]["imageStatus"] == "ARCHIVED"
    oci = OciClient(server.address, Authorization=basic(ecr))
    listed = oci.get("/v2/shop/cart/manifests/v1").json()["manifests"]
    assert [entry["platform"] for entry in listed] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
    ]
    manifest = oci.get(f"/v2/shop/cart/manifests/{listed[1]['digest']}").json()
    config = oci.get(f"/v2/shop/cart/blobs/{manifest['config']['digest']}").json()
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    for layer, size in zip(manifest["layers"], (1000, 3_000_000), strict=True):
        content = oci.get(f"/v2/shop/cart/blobs/{layer['digest']}").body
        assert sha256(content) == layer["digest"]
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            (file,) = tar.getmembers()
            assert file.size == size


def test_the_example_of_the_documentation_is_one(server: BackgroundServer, ecr: Any, tmp_path: Path) -> None:
    document = (ROOT / "docs" / "operations.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    (tmp_path / "demo.toml").write_text(example)
    server.seed(tmp_path / "demo.toml")
    assert details_of(ecr, "shop/cart").keys() >= {"stable", "dev-1"}


def test_what_a_push_sets_off_happens(server: BackgroundServer, ecr: Any, seed_file: Path) -> None:
    server.seed(seed_file)
    server.manage("run/replication", {})
    state = {"repositoryName": "shop/cart", "imageId": {"imageTag": "v1"}}
    (status,) = ecr.describe_image_replication_status(**state)["replicationStatuses"]
    # The destination's policy does not allow it, which is found out by trying.
    assert (status["registryId"], status["status"]) == ("111122223333", "IN_PROGRESS")
    assert ecr.describe_image_scan_findings(**state | {"imageId": {"imageTag": "dev-2"}})["imageScanStatus"]
    server.manage("run/lifecycle", {})
    server.advance_clock(DAY)
    server.manage("run/lifecycle", {})
    # Of those with a tag of that prefix, both are old enough; the index has another tag, too.
    assert details_of(ecr, "shop/cart").keys().isdisjoint({"dev-2"})


def test_seeding_again_changes_nothing(server: BackgroundServer, ecr: Any, seed_file: Path) -> None:
    def state() -> Any:
        return [
            details_of(ecr, "shop/cart"),
            ecr.describe_repositories()["repositories"],
            ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"][0]["createdAt"],
            ecr.describe_repository_creation_templates()["repositoryCreationTemplates"][0]["createdAt"],
        ]

    server.seed(seed_file)
    before = state()
    server.advance_clock(3600)
    server.seed(seed_file)
    assert state() == before


def test_a_document_can_be_seeded_and_changed(server: BackgroundServer, ecr: Any) -> None:
    server.seed({"repositories": [{"name": "app", "images": [{"tags": ["v1"], "generate": {}}]}]})
    first = details_of(ecr, "app")["v1"]["imageDigest"]
    changed = {"name": "app", "scan_on_push": True, "images": [{"tags": ["v1"], "generate": {"seed": "2"}}]}
    server.seed({"repositories": [changed]})
    assert details_of(ecr, "app")["v1"]["imageDigest"] != first
    assert ecr.describe_repositories()["repositories"][0]["imageScanningConfiguration"]["scanOnPush"] is True
    server.seed({"repositories": [{"name": "app", "tag_mutability": "IMMUTABLE"}]})
    again = {"name": "app", "images": [{"tags": ["v1"], "generate": {"seed": "3"}}]}
    with pytest.raises(DescriptionError, match=r"^repositories\[0\].images\[0\]: The image tag 'v1' already"):
        server.seed({"repositories": [again]})


def write_layout(folder: Path) -> dict[str, bytes]:
    """Write an OCI image layout with an index ``multi`` and an image ``one``; return the files."""
    blobs = [b"config", b"layer 1", b"layer 2"]
    one, two = image_manifest(blobs[0], blobs[1]), image_manifest(blobs[0], blobs[2])
    entries = [descriptor(content, OCI_MANIFEST) for content in (one, two)]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()

    def named(content: bytes, media_type: str, name: str) -> dict[str, Any]:
        annotations = {"org.opencontainers.image.ref.name": name}
        return {**descriptor(content, media_type), "annotations": annotations}

    top = [named(one, OCI_MANIFEST, "one"), named(index, OCI_INDEX, "multi")]
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": top}).encode(),
        **{f"blobs/{sha256(each).replace(':', '/')}": each for each in (*blobs, one, two, index)},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return files


def write_tar(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)


@pytest.mark.parametrize("form", ["folder", "layout.tar", "layout.tar.gz"])
def test_images_come_from_oci_layouts(server: BackgroundServer, ecr: Any, tmp_path: Path, form: str) -> None:
    files = write_layout(tmp_path / "folder")
    if form != "folder":
        write_tar(tmp_path / form, files)
    file = tmp_path / "seed.json"
    file.write_text(
        json.dumps(
            {
                "repositories": [
                    {
                        "name": "app",
                        "images": [
                            {"tags": ["v1"], "oci_layout": form, "ref": "multi"},
                            {"tags": ["v2", "v3"], "oci_layout": form, "ref": "one"},
                        ],
                    }
                ]
            }
        )
    )
    server.seed(file)
    images = details_of(ecr, "app")
    assert images["v1"]["imageManifestMediaType"] == OCI_INDEX
    assert images["v2"]["imageTags"] == ["v2", "v3"]
    assert len(images) == 3
    oci = OciClient(server.address)
    assert oci.get(f"/v2/app/blobs/{sha256(b'layer 2')}").body == b"layer 2"


def test_images_come_from_docker_save(server: BackgroundServer, ecr: Any, tmp_path: Path) -> None:
    plain, packed = b"a layer" * 1000, gzip.compress(b"another")
    config = json.dumps({"os": "linux", "architecture": "amd64"}).encode()
    manifest = [
        {
            "Config": "c.json",
            "RepoTags": ["docker.io/library/app:v1"],
            "Layers": ["a/layer.tar", "b/layer.tar"],
        },
        {"Config": "c.json", "RepoTags": None, "Layers": ["b/layer.tar"]},
    ]
    files = {
        "manifest.json": json.dumps(manifest).encode(),
        "c.json": config,
        "a.tar": plain,
        "b/layer.tar": packed,
    }
    write_tar(tmp_path / "saved.tar", files, {"a/layer.tar": "../a.tar"})
    image = {"tags": ["v1"], "docker_archive": str(tmp_path / "saved.tar"), "ref": "app:v1"}
    server.seed({"repositories": [{"name": "app", "images": [image]}]})
    oci = OciClient(server.address)
    pulled = oci.get("/v2/app/manifests/v1").json()
    assert pulled["config"] == descriptor(config, OCI_CONFIG)
    layer = "application/vnd.oci.image.layer.v1.tar"
    assert pulled["layers"] == [descriptor(plain, layer), descriptor(packed, f"{layer}+gzip")]
    assert oci.get(f"/v2/app/blobs/{sha256(plain)}").body == plain
    del image["ref"]
    with pytest.raises(DescriptionError, match="has 2 images, so that ref has to name one; there is docker"):
        server.seed({"repositories": [{"name": "app", "images": [image]}]})


WRONG: dict[str, tuple[Any, str]] = {
    "unknown": ({"colour": 1}, "Unevaluated properties are not allowed ('colour' was unexpected)"),
    "type": ({"repositories": [{"name": "a b"}]}, "repositories[0].name: 'a b' does not match"),
    "nested": (
        {"registries": [{"repositories": [{"name": "app", "images": [{"generate": {"layers": ["1"]}}]}]}]},
        "registries[0].repositories[0].images[0].generate.layers[0]: '1' is not",
    ),
    "no source": (
        {"repositories": [{"name": "app", "images": [{"tags": ["v1"]}]}]},
        "repositories[0].images[0]: ",
    ),
    "two times": (
        {
            "repositories": [
                {"name": "app", "images": [{"generate": {}, "pushed_at": "x", "pushed_ago": "1d"}]}
            ]
        },
        "repositories[0].images[0]: ",
    ),
    "no time": (
        {"repositories": [{"name": "app", "images": [{"generate": {}, "pushed_at": "now"}]}]},
        "repositories[0].images[0]: pushed_at: 'now' is no time",
    ),
    "rule": ({"policy": {}}, "registry: Invalid parameter at 'PolicyText'"),
    "lifecycle": (
        {"repositories": [{"name": "app"}, {"name": "web", "lifecycle_policy": {"rules": []}}]},
        "repositories[1]: lifecycle_policy: ",
    ),
    "file": (
        {"repositories": [{"name": "app", "images": [{"oci_layout": "none"}]}]},
        "repositories[0].images[0]: none does not exist",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_told_by_its_path(server: BackgroundServer, kind: str) -> None:
    document, problem = WRONG[kind]
    with pytest.raises(DescriptionError) as raised:
        server.seed(document)
    assert str(raised.value).startswith(problem)


@pytest.mark.parametrize("damage", ["layer", "manifest", "no layer", "index"])
def test_a_damaged_layout_is_refused(server: BackgroundServer, ecr: Any, tmp_path: Path, damage: str) -> None:
    write_layout(tmp_path)
    blobs = {path.read_bytes(): path for path in (tmp_path / "blobs").rglob("*") if path.is_file()}
    if damage == "layer":
        blobs[b"layer 1"].write_bytes(b"LAYER 1")
    elif damage == "no layer":
        blobs[b"layer 1"].unlink()
    elif damage == "manifest":
        path = blobs[image_manifest(b"config", b"layer 1")]
        path.write_bytes(path.read_bytes().replace(b"{", b" {", 1))
    else:
        (tmp_path / "index.json").write_text('{"manifests": [{"annotations": null, "digest": "../../x"}]}')
    image = {"oci_layout": str(tmp_path), **({} if damage == "index" else {"ref": "one"})}
    with pytest.raises(DescriptionError, match=r"repositories\[0\].images\[0\]: "):
        server.seed({"repositories": [{"name": "app", "images": [image]}]})
    assert ecr.list_images(repositoryName="app")["imageIds"] == []


def test_serve_seeds_when_it_starts_and_the_command_does_beside_it(tmp_path: Path, seed_file: Path) -> None:
    with serving(tmp_path / "data", seed=str(seed_file)) as server:
        ecr = connect(server.url)
        assert ecr.describe_repositories()["repositories"][0]["repositoryName"] == "shop/cart"
        (tmp_path / "more.json").write_text('{"repositories": [{"name": "more"}]}')
        done = run("seed", tmp_path / "more.json", "--data-dir", tmp_path / "data")
        assert done.err == "seeded 1 repository and 0 images, 0 of them new\n"
        assert len(ecr.describe_repositories()["repositories"]) == 2
    done = run("seed", seed_file, "--data-dir", tmp_path / "data")
    assert done.err == "seeded 2 repositories and 4 images, 0 of them new\n"
    assert run("check", "--data-dir", tmp_path / "data").status == 0
    (tmp_path / "wrong.toml").write_text("colour = 1")
    done = run("seed", tmp_path / "wrong.toml", "--data-dir", tmp_path / "data")
    assert (done.status, done.err.startswith(f"ecr-emulator: {tmp_path / 'wrong.toml'}: Uneval")) == (1, True)
    with (
        pytest.raises(StartError, match=r"wrong\.toml: Unevaluated properties"),
        serving(tmp_path / "data", seed=str(tmp_path / "wrong.toml")),
    ):
        pass
