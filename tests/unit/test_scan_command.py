"""The image that a scanner of the user's is given."""

import asyncio
import errno
import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from ecr_emulator.scanners.base import Report, ScannedBlob, ScannedImage
from ecr_emulator.scanners.command import CommandScanner, write_layout

MATCH = {
    "vulnerability": {"id": "CVE-2024-0001", "severity": "High"},
    "artifact": {"name": "a", "version": "1", "type": "deb", "locations": [{"layerID": "sha256:cc"}]},
}
REPORT = {"matches": [MATCH], "distro": {"name": "debian", "version": "12"}}


@pytest.fixture
def image(tmp_path):
    blobs = []
    for name, content in (("aa", {"rootfs": {"diff_ids": ["sha256:cc"]}}), ("bb", "a layer")):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        blobs.append(ScannedBlob(f"sha256:{name}", path))
    config, layer = blobs
    return ScannedImage(
        "app", (), "sha256:00", "application/vnd.oci.image.manifest.v1+json", b"{}", config, (layer,), False
    )


@pytest.fixture
def layout(tmp_path):
    folder = tmp_path / "layout"
    folder.mkdir()
    return folder


def test_the_layout_has_the_files_of_the_store(image, layout):
    write_layout(layout, image)
    blob = layout / "blobs" / "sha256" / "bb"
    assert blob.samefile(image.layers[0].path)
    assert not blob.is_symlink()


def test_the_layout_has_copies_on_another_file_system(image, layout, monkeypatch):
    def refuse(self, target):
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    write_layout(layout, image)
    blob = layout / "blobs" / "sha256" / "bb"
    assert blob.read_text() == '"a layer"'
    assert not blob.samefile(image.layers[0].path)


def test_a_layout_that_finds_no_room_fails_the_scan(image, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    report = asyncio.run(CommandScanner("true {layout}", timeout=30).scan(image))
    said = "The image can't be laid out for the scan command: No space left on device"
    assert (report.status, report.description) == ("FAILED", said)


@pytest.mark.parametrize(
    ("config", "layer"),
    [
        (None, "sha256:bb"),
        # What can't be told apart stays as the scanner names it.
        ('{"rootfs": {"diff_ids": ["sha256:cc", "sha256:dd"]}}', "sha256:cc"),
        ('{"rootfs": null}', "sha256:cc"),
        ("{", "sha256:cc"),
    ],
)
def test_layers_that_are_named_by_their_content_are_those_of_the_manifest(image, tmp_path, config, layer):
    if config is not None:
        image.config.path.write_text(config)
    report = scan(image, tmp_path, REPORT)
    assert [finding.package_layer for finding in report.findings] == [layer]


def scan(image, folder, document):
    """Scan an image with a command that says what a document has."""
    output = folder / "report.json"
    output.write_text(json.dumps(document))
    return asyncio.run(CommandScanner(f"sh -c 'cat {output}' {{layout}}", timeout=30).scan(image))


OF_SYSTEM = {
    "vulnerability": {"id": "CVE-2024-0001", "severity": "High"},
    "artifact": {"name": "bash", "version": "1", "type": "alpm"},
}
OF_LANGUAGE = {
    "vulnerability": {"id": "CVE-2024-0002", "severity": "High"},
    "artifact": {"name": "six", "version": "1", "type": "python"},
}


@pytest.mark.parametrize(
    ("languages", "system", "status", "names"),
    [
        (False, "debian", "COMPLETE", ["bash"]),
        (False, "arch", "UNSUPPORTED_IMAGE", []),
        (False, "", "UNSUPPORTED_IMAGE", []),
        (True, "debian", "COMPLETE", ["bash", "six"]),
        # Packages of a system that ECR does not scan count no more than for the scanner of layers.
        (True, "arch", "COMPLETE", ["six"]),
        (True, "", "COMPLETE", ["six"]),
    ],
)
def test_packages_count_by_the_kind_of_scan_and_the_system(image, tmp_path, languages, system, status, names):
    document = {"matches": [OF_SYSTEM, OF_LANGUAGE], "distro": {"name": system, "version": "1"}}
    report = scan(replace(image, languages=languages), tmp_path, document)
    assert (report.status, [finding.package_name for finding in report.findings]) == (status, names)


@pytest.mark.parametrize("languages", [False, True])
def test_an_image_that_a_scanner_found_nothing_to_scan_in_is_unsupported(image, tmp_path, languages):
    nothing = {"SchemaVersion": 2, "ArtifactType": "container_image", "Metadata": {"Size": 10752}}
    assert scan(replace(image, languages=languages), tmp_path, nothing) == Report("UNSUPPORTED_IMAGE")
