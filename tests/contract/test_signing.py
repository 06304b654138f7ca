"""Managed signing: rules, what they sign, the signatures themselves, and how far they have come."""

import base64
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass

import boto3
import pytest

from ecr_emulator.core import signatures as signatures_of_core
from ecr_emulator.settings import Settings
from ecr_emulator.testing import BackgroundServer
from tests.contract import notary
from tests.contract.blocking import unblocked_loop
from tests.contract.conftest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    image_manifest,
    put_image,
    sha256,
    upload_layer,
)

SIGNATURE = "application/vnd.cncf.notary.signature"
PROFILE = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/release"
OTHER_PROFILE = "arn:aws:signer:us-east-1:111122223333:/signing-profiles/audit_2"


def client_of(server, account="testing", region="us-east-1"):
    return boto3.client(
        "ecr",
        endpoint_url=server.url,
        region_name=region,
        aws_access_key_id=account,
        aws_secret_access_key="testing",
    )


def rule(profile=PROFILE, *filters):
    if not filters:
        return {"signingProfileArn": profile}
    entries = [{"filter": text, "filterType": "WILDCARD_MATCH"} for text in filters]
    return {"signingProfileArn": profile, "repositoryFilters": entries}


def configure(ecr, *rules):
    ecr.put_signing_configuration(signingConfiguration={"rules": list(rules)})


def run(server):
    return server.manage("run/signing", {})["done"]


def statuses(ecr, repository, digest):
    answer = ecr.describe_image_signing_status(repositoryName=repository, imageId={"imageDigest": digest})
    return {entry.pop("signingProfileArn"): entry for entry in answer["signingStatuses"]}


def states(ecr, repository, digest):
    return {arn: entry["status"] for arn, entry in statuses(ecr, repository, digest).items()}


def get(server, path):
    with urllib.request.urlopen(f"{server.url}{path}") as response:
        return response.read()


def root_of(server):
    return get(server, "/_emulator/signing/certificates")


@dataclass(frozen=True)
class Found:
    """A signature as a client finds it on ``/v2/``."""

    digest: str
    manifest: dict
    envelope: bytes


def signatures(server, repository, digest):
    index = json.loads(get(server, f"/v2/{repository}/referrers/{digest}?artifactType={SIGNATURE}"))
    found = []
    for entry in index["manifests"]:
        assert (entry["mediaType"], entry["artifactType"]) == (OCI_MANIFEST, SIGNATURE)
        content = get(server, f"/v2/{repository}/manifests/{entry['digest']}")
        assert (sha256(content), len(content)) == (entry["digest"], entry["size"])
        manifest = json.loads(content)
        assert manifest["annotations"] == entry["annotations"]
        [layer] = manifest["layers"]
        envelope = get(server, f"/v2/{repository}/blobs/{layer['digest']}")
        assert (sha256(envelope), len(envelope)) == (layer["digest"], layer["size"])
        found.append(Found(entry["digest"], manifest, envelope))
    return found


@pytest.fixture
def quiet(tmp_path):
    """A server that signs only when it is told to, keeping its state in ``tmp_path``."""
    with BackgroundServer(quiet_settings(tmp_path)) as server, unblocked_loop():
        yield server


def quiet_settings(tmp_path):
    return Settings(data_dir=str(tmp_path), port=0, engines="off")


@pytest.fixture
def quiet_ecr(quiet):
    ecr = client_of(quiet)
    ecr.create_repository(repositoryName="app")
    return ecr


# -------------------------------------------------------------------------------------- configuration


def test_a_configuration_is_kept_replaced_returned_and_removed(ecr):
    for rules in ([rule(PROFILE, "app", "team/*")], [], [rule(), rule(OTHER_PROFILE, "*prod*")]):
        given = {"rules": rules}
        assert ecr.put_signing_configuration(signingConfiguration=given)["signingConfiguration"] == given
        answer = ecr.get_signing_configuration()
        assert (answer["registryId"], answer["signingConfiguration"]) == ("000000000000", given)
    removed = ecr.delete_signing_configuration()
    assert (removed["registryId"], removed["signingConfiguration"]) == ("000000000000", given)
    for gone in (ecr.get_signing_configuration, ecr.delete_signing_configuration):
        with pytest.raises(ecr.exceptions.SigningConfigurationNotFoundException) as raised:
            gone()
        assert raised.value.response["Error"]["Message"] == (
            "Signing configuration does not exist in the registry with id '000000000000'"
        )


def test_each_registry_has_its_own_configuration(server, ecr):
    configure(ecr, rule())
    for elsewhere in (client_of(server, region="eu-west-1"), client_of(server, account="111122223333")):
        with pytest.raises(ecr.exceptions.ClientError, match="SigningConfigurationNotFoundException"):
            elsewhere.get_signing_configuration()


def test_a_profile_of_another_region_is_refused_and_changes_nothing(ecr):
    configure(ecr, rule())
    abroad = PROFILE.replace("us-east-1", "eu-west-1")
    with pytest.raises(
        ecr.exceptions.InvalidParameterException, match="must be in the region of the registry"
    ):
        configure(ecr, rule(), rule(abroad))
    assert ecr.get_signing_configuration()["signingConfiguration"] == {"rules": [rule()]}


@pytest.mark.parametrize(
    "rules",
    [
        [rule()] * 11,
        [rule("arn:aws:signer:us-east-1:000000000000:/signing-profiles/a")],
        [rule("arn:aws:signer:us-east-1:000000000000:/signing-profiles/with-hyphen")],
        [rule("arn:aws:kms:us-east-1:000000000000:key/release")],
        [rule(PROFILE + "x" * 200)],
        [{"signingProfileArn": PROFILE, "repositoryFilters": []}],
        [rule(PROFILE, *["app"] * 101)],
        [rule(PROFILE, "Upper")],
        [
            {
                "signingProfileArn": PROFILE,
                "repositoryFilters": [{"filter": "a", "filterType": "PREFIX_MATCH"}],
            }
        ],
        [{"signingProfileArn": PROFILE, "repositoryFilters": [{"filterType": "WILDCARD_MATCH"}]}],
        [{}],
        None,
    ],
    ids=lambda rules: json.dumps(rules)[:60],
)
def test_rules_beyond_the_model_are_refused(server, ecr, rules):
    given = {} if rules is None else {"rules": rules}
    # Past botocore's own checks.
    request = urllib.request.Request(
        server.url,
        json.dumps({"signingConfiguration": given}).encode(),
        {"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.PutSigningConfiguration"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    assert refused.value.headers["x-amzn-ErrorType"] == "InvalidParameterException"
    with pytest.raises(ecr.exceptions.SigningConfigurationNotFoundException):
        ecr.get_signing_configuration()


# ------------------------------------------------------------------------------------ what is signed


def test_a_push_puts_a_signature_beside_the_image(server, ecr, repository):
    configure(ecr, rule())
    digest = put_image(ecr, repository, "v1")
    run(server)
    assert statuses(ecr, repository, digest) == {PROFILE: {"status": "COMPLETE"}}
    [signature] = signatures(server, repository, digest)
    [found] = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])["images"]
    target = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(found["imageManifest"])}
    assert signature.manifest["subject"] == target
    assert signature.manifest["config"] == {"mediaType": SIGNATURE, "digest": sha256(b"{}"), "size": 2}
    assert get(server, f"/v2/{repository}/blobs/{sha256(b'{}')}") == b"{}"
    assert signature.manifest["layers"][0]["mediaType"] == "application/jose+json"
    header = notary.verify(signature.envelope, target, root_of(server))
    assert re.fullmatch(re.escape(PROFILE) + r"/\w{10}", header[notary.PROFILE_VERSION])
    assert notary.subject_of(signature.envelope) == "CN=release,O=000000000000,ST=WA,C=US"
    prints = signature.manifest["annotations"]["io.cncf.notary.x509chain.thumbprint#S256"]
    assert json.loads(prints) == notary.thumbprints(signature.envelope)


def test_describe_images_shows_the_signature_as_an_untagged_artifact_of_its_subject(server, ecr, repository):
    configure(ecr, rule())
    digest = put_image(ecr, repository, "v1")
    run(server)
    [signature] = signatures(server, repository, digest)
    details = ecr.describe_images(repositoryName=repository)["imageDetails"]
    [described] = [entry for entry in details if entry["imageDigest"] != digest]
    assert described["imageDigest"] == signature.digest
    assert described["subjectManifestDigest"] == digest
    assert described["artifactMediaType"] == SIGNATURE
    assert described["imageManifestMediaType"] == OCI_MANIFEST
    assert described["imageSizeInBytes"] == len(signature.envelope) + 2
    assert "imageTags" not in described


def test_a_push_on_the_registry_api_is_signed_too(server, ecr, repository):
    configure(ecr, rule())
    for content in (b"config", b"layer"):
        upload_layer(ecr, repository, content)
    manifest = image_manifest(b"config", b"layer")
    request = urllib.request.Request(
        f"{server.url}/v2/{repository}/manifests/v1",
        manifest,
        {"Content-Type": OCI_MANIFEST},
        method="PUT",
    )
    urllib.request.urlopen(request).close()
    run(server)
    [signature] = signatures(server, repository, sha256(manifest))
    target = {"mediaType": OCI_MANIFEST, "digest": sha256(manifest), "size": len(manifest)}
    notary.verify(signature.envelope, target, root_of(server))


@pytest.mark.parametrize(
    ("media_type", "list_type"), [(OCI_MANIFEST, OCI_INDEX), (DOCKER_MANIFEST, DOCKER_LIST)]
)
def test_an_index_and_its_images_are_signed_as_what_they_are(server, ecr, repository, media_type, list_type):
    configure(ecr, rule())
    child = put_image(ecr, repository, seed="child", media_type=media_type)
    [found] = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": child}])["images"]
    child_target = {"mediaType": media_type, "digest": child, "size": len(found["imageManifest"])}
    index = json.dumps({"schemaVersion": 2, "mediaType": list_type, "manifests": [child_target]})
    ecr.put_image(repositoryName=repository, imageManifest=index, imageTag="all")
    run(server)
    index_target = {"mediaType": list_type, "digest": sha256(index.encode()), "size": len(index)}
    for target in (child_target, index_target):
        [signature] = signatures(server, repository, target["digest"])
        notary.verify(signature.envelope, target, root_of(server))


def test_signatures_and_other_artifacts_are_not_signed(server, ecr, repository):
    digest = put_image(ecr, repository, "v1")
    configure(ecr, rule())
    subject = {"mediaType": OCI_MANIFEST, "digest": digest, "size": 1}
    others = [
        put_image(ecr, repository, seed="an SBOM", subject=subject, artifactType="application/spdx+json"),
        put_image(ecr, repository, seed="an attachment that says it is an image", subject=subject),
        put_image(ecr, repository, seed="an artifact", artifactType="application/x-notes"),
    ]
    chart = image_manifest(b"config seed", b"layer seed")
    chart = chart.replace(b"oci.image.config.v1+json", b"cncf.helm.config.v1+json")
    ecr.put_image(repositoryName=repository, imageManifest=chart.decode())
    others.append(sha256(chart))
    run(server)
    for other in others:
        assert statuses(ecr, repository, other) == {}
        assert signatures(server, repository, other) == []
    # Nor are the signatures that the server makes.
    signed = put_image(ecr, repository, "v2", seed="signed")
    run(server)
    run(server)
    [signature] = signatures(server, repository, signed)
    assert statuses(ecr, repository, signature.digest) == {}
    assert signatures(server, repository, signature.digest) == []


def test_rules_choose_repositories_by_wildcards(server, ecr):
    rules = [rule(PROFILE, "team/*", "*/prod"), rule(OTHER_PROFILE, "*prod*")]
    configure(ecr, *rules)
    expected = {
        "team/web": {PROFILE},
        "shop/prod": {PROFILE, OTHER_PROFILE},
        "prod": {OTHER_PROFILE},
        "team/prod-1": {PROFILE, OTHER_PROFILE},
        "steam/web": set(),
    }
    digests = {}
    for name in expected:
        ecr.create_repository(repositoryName=name)
        digests[name] = put_image(ecr, name, "v1")
    run(server)
    signed = {name: set(states(ecr, name, digest)) for name, digest in digests.items()}
    assert signed == expected
    assert {name: len(signatures(server, name, digest)) for name, digest in digests.items()} == {
        name: len(profiles) for name, profiles in expected.items()
    }


def test_each_profile_signs_with_its_own_key_and_once(server, ecr, repository):
    configure(ecr, rule(), rule(OTHER_PROFILE), rule(PROFILE, "a*"))
    digest = put_image(ecr, repository, "v1")
    run(server)
    assert states(ecr, repository, digest) == {PROFILE: "COMPLETE", OTHER_PROFILE: "COMPLETE"}
    found = signatures(server, repository, digest)
    # The profile of another account signs in that account's name.
    assert {notary.subject_of(signature.envelope) for signature in found} == {
        "CN=release,O=000000000000,ST=WA,C=US",
        "CN=audit_2,O=111122223333,ST=WA,C=US",
    }
    assert len({notary.thumbprints(signature.envelope)[0] for signature in found}) == len(found) == 2
    assert len({notary.thumbprints(signature.envelope)[1] for signature in found}) == 1


def test_the_same_image_under_another_tag_is_not_signed_again(server, ecr, repository):
    configure(ecr, rule())
    digest = put_image(ecr, repository, "v1")
    run(server)
    put_image(ecr, repository, "v2")
    assert states(ecr, repository, digest) == {PROFILE: "COMPLETE"}
    run(server)
    assert len(signatures(server, repository, digest)) == 1


def test_an_image_from_before_the_rule_is_signed_with_its_next_push(server, ecr, repository):
    digest = put_image(ecr, repository, "v1")
    configure(ecr, rule())
    run(server)
    assert statuses(ecr, repository, digest) == {}
    put_image(ecr, repository, "v2")
    run(server)
    assert states(ecr, repository, digest) == {PROFILE: "COMPLETE"}
    assert len(signatures(server, repository, digest)) == 1


def test_without_a_configuration_pushes_are_not_signed_any_more_and_signatures_stay(server, ecr, repository):
    configure(ecr, rule())
    before = put_image(ecr, repository, "v1", seed="before")
    run(server)
    ecr.delete_signing_configuration()
    after = put_image(ecr, repository, "v2", seed="after")
    run(server)
    assert (states(ecr, repository, before), states(ecr, repository, after)) == ({PROFILE: "COMPLETE"}, {})
    assert (len(signatures(server, repository, before)), signatures(server, repository, after)) == (1, [])


def test_a_long_profile_name_signs(server, ecr, repository):
    """Names in certificates are limited to 64 characters, those of profiles by the ARN's 200."""
    profile = f"arn:aws:signer:us-east-1:000000000000:/signing-profiles/{'p' * 140}"
    configure(ecr, rule(profile))
    digest = put_image(ecr, repository, "v1")
    run(server)
    assert states(ecr, repository, digest) == {profile: "COMPLETE"}


# ------------------------------------------------------------------------------------ the signature


@pytest.fixture
def signed(server, ecr, repository):
    """A signature's envelope, its target, and the root that makes it trusted."""
    configure(ecr, rule())
    digest = put_image(ecr, repository, "v1")
    run(server)
    [signature] = signatures(server, repository, digest)
    return signature.envelope, signature.manifest["subject"], root_of(server)


@pytest.mark.parametrize("part", ["payload", "protected", "signature"])
def test_no_byte_of_what_is_signed_can_be_changed(signed, part):
    envelope, target, root = signed
    notary.verify(envelope, target, root)
    document = json.loads(envelope)
    content = notary.decode(document[part])
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        text = base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
        with pytest.raises(notary.InvalidEnvelopeError):
            notary.verify(json.dumps({**document, part: text}).encode(), target, root)


def test_a_signature_is_of_its_target_alone(signed):
    envelope, target, root = signed
    for change in ({"digest": sha256(b"other")}, {"size": target["size"] + 1}, {"mediaType": OCI_INDEX}):
        with pytest.raises(notary.InvalidEnvelopeError, match="payload"):
            notary.verify(envelope, {**target, **change}, root)


def test_the_root_of_another_server_does_not_make_it_trusted(quiet, quiet_ecr, ecr_server):
    configure(quiet_ecr, rule())
    digest = put_image(quiet_ecr, "app", "v1")
    run(quiet)
    [signature] = signatures(quiet, "app", digest)
    notary.verify(signature.envelope, signature.manifest["subject"], root_of(quiet))
    with pytest.raises(notary.InvalidEnvelopeError, match="trust"):
        notary.verify(signature.envelope, signature.manifest["subject"], root_of(ecr_server))


@pytest.mark.parametrize(
    ("now", "expiry"),
    [
        ("2023-07-18T10:51:00Z", "2034-10-18T10:51"),
        ("2040-11-30T23:59:00.5Z", "2052-02-29T23:59"),
        ("9998-01-01T00:00:00Z", "9999-12-31T23:59"),
        ("1950-01-01T00:00:00Z", "1961-04-01T00:00"),
    ],
)
def test_signing_time_is_the_servers_and_expiry_135_months_later(quiet, quiet_ecr, now, expiry):
    quiet.manage("clock", {"now": now})
    configure(quiet_ecr, rule())
    digest = put_image(quiet_ecr, "app", "v1")
    run(quiet)
    [signature] = signatures(quiet, "app", digest)
    header = notary.verify(signature.envelope, signature.manifest["subject"], root_of(quiet))
    # To the minute, since the clock goes on.
    assert header[notary.SIGNING_TIME][:16] == now[:16]
    assert header[notary.EXPIRY][:16] == expiry
    assert (
        signature.manifest["annotations"]["org.opencontainers.image.created"] == header[notary.SIGNING_TIME]
    )


# ----------------------------------------------------------------------------------------- the status


def test_status_is_in_progress_until_the_signature_is_there(quiet, quiet_ecr):
    configure(quiet_ecr, rule())
    digest = put_image(quiet_ecr, "app", "v1")
    assert statuses(quiet_ecr, "app", digest) == {PROFILE: {"status": "IN_PROGRESS"}}
    assert signatures(quiet, "app", digest) == []
    # Another push meanwhile leaves nothing more to do.
    put_image(quiet_ecr, "app", "v2")
    assert run(quiet) == 1
    assert statuses(quiet_ecr, "app", digest) == {PROFILE: {"status": "COMPLETE"}}
    assert run(quiet) == 0
    assert len(signatures(quiet, "app", digest)) == 1


def test_status_is_asked_for_by_tag_by_digest_and_by_both(server, ecr, repository):
    configure(ecr, rule())
    digest = put_image(ecr, repository, "v1")
    run(server)
    for image_id in ({"imageTag": "v1"}, {"imageDigest": digest}, {"imageDigest": digest, "imageTag": "v1"}):
        answer = ecr.describe_image_signing_status(repositoryName=repository, imageId=image_id)
        assert answer["imageId"] == {"imageDigest": digest, **image_id}
        assert (answer["registryId"], answer["repositoryName"]) == ("000000000000", repository)
        [entry] = answer["signingStatuses"]
        assert entry == {"signingProfileArn": PROFILE, "status": "COMPLETE"}


def test_status_of_what_is_not_there(ecr, repository):
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.describe_image_signing_status(repositoryName="absent", imageId={"imageTag": "v1"})
    put_image(ecr, repository, "v1")
    other = sha256(b"other")
    for image_id in ({"imageTag": "v2"}, {"imageDigest": other}, {"imageDigest": other, "imageTag": "v1"}):
        with pytest.raises(ecr.exceptions.ImageNotFoundException):
            ecr.describe_image_signing_status(repositoryName=repository, imageId=image_id)
    for image_id in ({}, {"imageDigest": "sha256:short"}):
        with pytest.raises(ecr.exceptions.InvalidParameterException):
            ecr.describe_image_signing_status(repositoryName=repository, imageId=image_id)


def test_what_waits_and_what_is_signed_survives_a_restart(tmp_path):
    with BackgroundServer(quiet_settings(tmp_path)) as server:
        ecr = client_of(server)
        ecr.create_repository(repositoryName="app")
        configure(ecr, rule())
        first = put_image(ecr, "app", "v1", seed="first")
        run(server)
        second = put_image(ecr, "app", "v2", seed="second")
        root = root_of(server)
    with BackgroundServer(quiet_settings(tmp_path)) as server:
        ecr = client_of(server)
        assert states(ecr, "app", first) == {PROFILE: "COMPLETE"}
        assert states(ecr, "app", second) == {PROFILE: "IN_PROGRESS"}
        assert run(server) == 1
        assert root_of(server) == root
        found = [signatures(server, "app", digest) for digest in (first, second)]
        for [signature] in found:
            notary.verify(signature.envelope, signature.manifest["subject"], root)
        assert len({notary.thumbprints(signature.envelope)[0] for [signature] in found}) == 1


def test_the_engine_signs_by_itself_while_the_server_runs(server, ecr, repository):
    configure(ecr, rule())
    digest = put_image(ecr, repository, "v1")
    # Answers once the engine, which may be at it already, has nothing left to do.
    run(server)
    assert run(server) == 0
    assert states(ecr, repository, digest) == {PROFILE: "COMPLETE"}


# ----------------------------------------------------------------------------------------- failures


@pytest.fixture
def breakage(tmp_path):
    """Takes away the folder in which uploads begin, and gives it back."""
    uploads, aside = tmp_path / "uploads", tmp_path / "aside"

    def break_(broken):
        if broken:
            uploads.rename(aside)
            uploads.write_text("a file, in which nothing can be made")
        else:
            uploads.unlink()
            aside.rename(uploads)

    return break_


@pytest.mark.local
def test_a_signing_that_fails_is_tried_again(quiet, quiet_ecr, breakage):
    configure(quiet_ecr, rule())
    digest = put_image(quiet_ecr, "app", "v1")
    breakage(True)
    assert run(quiet) == 1
    assert run(quiet) == 0
    assert statuses(quiet_ecr, "app", digest) == {PROFILE: {"status": "IN_PROGRESS"}}
    breakage(False)
    quiet.advance_clock(11)
    assert run(quiet) == 1
    assert statuses(quiet_ecr, "app", digest) == {PROFILE: {"status": "COMPLETE"}}
    assert len(signatures(quiet, "app", digest)) == 1


@pytest.mark.local
def test_a_signing_that_keeps_failing_has_failed_until_the_image_is_pushed_again(quiet, quiet_ecr, breakage):
    configure(quiet_ecr, rule())
    digest = put_image(quiet_ecr, "app", "v1")
    breakage(True)
    for _ in range(3):
        assert states(quiet_ecr, "app", digest) == {PROFILE: "IN_PROGRESS"}
        assert run(quiet) == 1
        quiet.advance_clock(61)
    failed = statuses(quiet_ecr, "app", digest)[PROFILE]
    assert (failed["status"], failed["failureCode"]) == ("FAILED", "ServerException")
    assert failed["failureReason"].startswith("The image could not be signed: ")
    assert run(quiet) == 0
    breakage(False)
    put_image(quiet_ecr, "app", "v2")
    assert run(quiet) == 1
    assert statuses(quiet_ecr, "app", digest) == {PROFILE: {"status": "COMPLETE"}}


def test_a_signing_that_is_cut_off_at_its_end_leaves_one_signature(quiet, quiet_ecr, monkeypatch):
    def cut_off(*args):
        complete(*args)
        raise InterruptedError

    complete = signatures_of_core._complete
    configure(quiet_ecr, rule())
    digest = put_image(quiet_ecr, "app", "v1")
    with monkeypatch.context() as patch:
        patch.setattr(signatures_of_core, "_complete", cut_off)
        run(quiet)
    assert states(quiet_ecr, "app", digest) == {PROFILE: "IN_PROGRESS"}
    assert signatures(quiet, "app", digest) == []
    quiet.advance_clock(11)
    run(quiet)
    assert states(quiet_ecr, "app", digest) == {PROFILE: "COMPLETE"}
    assert len(signatures(quiet, "app", digest)) == 1


@pytest.mark.parametrize("what", ["image", "repository"])
def test_what_is_deleted_meanwhile_is_not_signed(quiet, quiet_ecr, what):
    configure(quiet_ecr, rule())
    digest = put_image(quiet_ecr, "app", "v1")
    if what == "image":
        quiet_ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": digest}])
    else:
        quiet_ecr.delete_repository(repositoryName="app", force=True)
        quiet_ecr.create_repository(repositoryName="app")
    assert run(quiet) == 1
    assert run(quiet) == 0
    assert quiet_ecr.list_images(repositoryName="app")["imageIds"] == []
    # Pushed anew, it is signed once, as any image.
    assert put_image(quiet_ecr, "app", "v1") == digest
    assert states(quiet_ecr, "app", digest) == {PROFILE: "IN_PROGRESS"}
    assert run(quiet) == 1
    assert len(signatures(quiet, "app", digest)) == 1


def test_an_image_that_is_deleted_and_pushed_again_before_it_is_signed_is_signed_once(quiet, quiet_ecr):
    configure(quiet_ecr, rule())
    digest = put_image(quiet_ecr, "app", "v1")
    quiet_ecr.batch_delete_image(repositoryName="app", imageIds=[{"imageDigest": digest}])
    put_image(quiet_ecr, "app", "v1")
    assert run(quiet) == 2
    assert states(quiet_ecr, "app", digest) == {PROFILE: "COMPLETE"}
    assert len(signatures(quiet, "app", digest)) == 1


# ---------------------------------------------------------------------------------------- the server


def test_a_reset_ends_the_rules_and_the_keys_of_profiles_and_keeps_the_root(quiet, quiet_ecr):
    prints = []
    root = root_of(quiet)
    for _ in range(2):
        configure(quiet_ecr, rule())
        digest = put_image(quiet_ecr, "app", "v1")
        run(quiet)
        [signature] = signatures(quiet, "app", digest)
        notary.verify(signature.envelope, signature.manifest["subject"], root)
        prints.append(notary.thumbprints(signature.envelope)[0])
        quiet.reset()
        with pytest.raises(quiet_ecr.exceptions.SigningConfigurationNotFoundException):
            quiet_ecr.get_signing_configuration()
        quiet_ecr.create_repository(repositoryName="app")
    assert len(set(prints)) == 2


def test_certificates_are_pem_that_says_nothing_of_the_key(server):
    pem = root_of(server).decode()
    assert pem.startswith("-----BEGIN CERTIFICATE-----\n")
    assert pem.count("BEGIN") == 1
    assert root_of(server).decode() == pem


def test_nothing_of_cryptography_is_loaded_before_the_first_signature():
    program = """
import json, sys, boto3
from ecr_emulator.testing import BackgroundServer
with BackgroundServer() as server:
    ecr = boto3.client("ecr", endpoint_url=server.url, region_name="us-east-1",
                       aws_access_key_id="test", aws_secret_access_key="test")
    ecr.create_repository(repositoryName="app")
    server.manage("run/signing", {})
    ours = {name for name in sys.modules if name.startswith("ecr_emulator")}
    print(json.dumps(["ecr_emulator.core.notary" in ours, "ecr_emulator.core.signatures" in ours]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == [False, True]
