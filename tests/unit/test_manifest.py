"""Manifests: what is read out of them, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.blobs.base import digest_of
from ecr_emulator.core import manifest
from ecr_emulator.core.errors import InvalidParameterException

DIGESTS = [digest_of(bytes([number])) for number in range(4)]
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGESTS[0], "size": 1}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGESTS[1], "size": 2}
IMAGE = {"schemaVersion": 2, "mediaType": manifest.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}
CHILD = {"mediaType": manifest.OCI_MANIFEST, "digest": DIGESTS[2], "size": 3}
INDEX = {"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": [CHILD]}


def parse(document, media_type=None, **options):
    return manifest.parse(json.dumps(document).encode(), media_type, **options)


def test_an_image_has_config_and_layers():
    parsed = parse(IMAGE)
    assert not parsed.is_index
    assert [blob.digest for blob in parsed.blobs] == DIGESTS[:2]
    assert parsed.digest == digest_of(json.dumps(IMAGE).encode())
    assert (parsed.artifact_type, parsed.subject, parsed.annotations) == (None, None, None)


def test_an_index_has_children():
    parsed = parse(INDEX)
    assert parsed.is_index
    assert [child.digest for child in parsed.children] == [DIGESTS[2]]
    assert parsed.blobs == ()


def test_an_artifact_has_a_type_a_subject_and_annotations():
    parsed = parse({**IMAGE, "artifactType": "a/b", "subject": CHILD, "annotations": {"key": "value"}})
    assert parsed.artifact_type == "a/b"
    assert parsed.subject.digest == DIGESTS[2]
    assert parsed.annotations == {"key": "value"}


def test_layers_that_are_elsewhere_need_not_be_pushed():
    foreign = {**LAYER, "digest": DIGESTS[3], "urls": ["https://example.com/layer"]}
    assert [blob.digest for blob in parse({**IMAGE, "layers": [LAYER, foreign]}).blobs] == DIGESTS[:2]


def test_the_digest_is_of_the_algorithm_by_which_it_is_pushed():
    assert parse(IMAGE, algorithm="sha512").digest.startswith("sha512:")


def test_the_request_names_the_type_where_the_manifest_does_not():
    untyped = {name: value for name, value in IMAGE.items() if name != "mediaType"}
    assert parse(untyped, manifest.OCI_MANIFEST).media_type == manifest.OCI_MANIFEST
    with pytest.raises(InvalidParameterException, match="media type must be specified"):
        parse(untyped)


WRONG = {
    "not JSON": (b"{", "Invalid JSON syntax"),
    "not UTF-8": (b'"\xff"', "Invalid JSON syntax"),
    "not an object": (b"[]", "Invalid JSON syntax"),
    "half of a surrogate pair": (
        json.dumps(IMAGE | {"artifactType": "\ud800"}).encode(),
        "Invalid JSON syntax",
    ),
    "nested too deeply": (b"[" * 100_000, "Invalid JSON syntax"),
    "another type than the request's": (IMAGE | {"mediaType": manifest.OCI_INDEX}, "does not match"),
    "unknown type": (IMAGE | {"mediaType": "text/plain"}, "is not supported"),
    "schema version": (IMAGE | {"schemaVersion": 1}, "schema version must be 2"),
    "config missing": ({k: v for k, v in IMAGE.items() if k != "config"}, "'config: Object missing"),
    "layers missing": ({k: v for k, v in IMAGE.items() if k != "layers"}, "'layers: Object missing"),
    "layer no object": (IMAGE | {"layers": [1]}, r"'layers\[0\]: Expected `object`, got `int`'"),
    "digest malformed": (
        IMAGE | {"layers": [LAYER | {"digest": "sha256:0"}]},
        r"'layers\[0\].digest: Expected `str` matching",
    ),
    "size negative": (IMAGE | {"layers": [LAYER | {"size": -1}]}, r"'layers\[0\].size: Expected `int` >= 0'"),
    "size no integer": (
        IMAGE | {"layers": [LAYER | {"size": True}]},
        r"'layers\[0\].size: Expected `int`, got `bool`'",
    ),
    "descriptor without type": (
        IMAGE | {"config": CONFIG | {"mediaType": None}},
        "'config.mediaType: Expected `str`",
    ),
    "artifactType": (IMAGE | {"artifactType": 1}, "'artifactType: Expected `str"),
    "annotations": (IMAGE | {"annotations": {"a": 1}}, r"'annotations\[...\]: Expected `str`"),
    "subject": (IMAGE | {"subject": "x"}, "'subject: Expected `object"),
    "index with layers": (INDEX | {"layers": []}, "it has layers"),
    "index without manifests": (INDEX | {"manifests": None}, "'manifests: Object missing"),
}


@pytest.mark.parametrize(("document", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused(document, message):
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    stated = "application/vnd.oci.image.manifest.v1+json" if "does not match" in message else None
    with pytest.raises(InvalidParameterException, match=message) as raised:
        manifest.parse(content, stated)
    assert raised.value.message.startswith(
        "Invalid parameter at 'ImageManifest' failed to satisfy constraint"
    )


def test_a_manifest_is_at_most_four_mebibytes():
    padding = "x" * (manifest.MAX_SIZE - len(json.dumps(IMAGE | {"padding": ""})))
    assert len(parse(IMAGE | {"padding": padding}).content) == manifest.MAX_SIZE
    with pytest.raises(InvalidParameterException, match="length less than or equal to 4194304"):
        parse(IMAGE | {"padding": padding + "x"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(base=st.sampled_from([IMAGE, INDEX]), member=st.sampled_from([*IMAGE, *INDEX, "subject"]), value=JSON)
def test_whatever_a_member_is_the_manifest_is_parsed_or_refused(base, member, value):
    try:
        parsed = parse(base | {member: value})
    except InvalidParameterException:
        return
    assert parsed.digest == digest_of(parsed.content)
