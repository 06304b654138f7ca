"""The OCI distribution specification's own conformance suite, with all of its APIs and data switched on.

In ECR's own mode, without deletes, the suite has to report those as unsupported and nothing as failed.
"""

import base64
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.serving import ROOT, api_of, serve

SUITE = ROOT / "build" / "bin" / "conformance"
DELETES = {"Blob delete", "Blob delete atomic", "Manifest delete", "Manifest delete atomic"}
TAG_DELETES = {"Tag delete", "Tag delete atomic"}
# What is off by default in the suite though the specification has it.
SWITCHED_ON = {
    "OCI_API_BLOBS_DIGEST_HEADER": "true",
    "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
    "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
    "OCI_API_MANIFESTS_TAG_PARAM": "true",
}
EVERYTHING = ("--oci-deletes", "on", "--layer-check", "off")
# ECR mounts a blob only between repositories that the caller names.
NOT_OFFERED = {"Blob anonymous mount"}


def run_suite(folder: Path, *flags: str, sparse: bool) -> dict[str, dict[str, str]]:
    """Run the suite against a server with those flags and return its results by API and by data.

    With ``sparse`` it also pushes manifests some of whose blobs and images were never pushed.
    """
    assert SUITE.exists(), "the suite is not installed: run scripts/install_conformance.sh"
    with serve(folder, {}, *flags) as server:
        ecr = api_of(server)
        for name in ("conformance/repo1", "conformance/repo2"):
            ecr.create_repository(repositoryName=name)
        [authorization] = ecr.get_authorization_token()["authorizationData"]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "OCI_REGISTRY": server.registry,
            "OCI_TLS": "disabled",
            "OCI_USERNAME": "AWS",
            "OCI_PASSWORD": password_of(authorization["authorizationToken"]),
            "OCI_VERSION": "1.1",
            "OCI_DATA_SPARSE": str(sparse).lower(),
            **SWITCHED_ON,
        }
        done = subprocess.run(
            [SUITE], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stdout[-20_000:]
    results = yaml.safe_load((folder / "results" / "results.yaml").read_text())
    return {"apis": results["apis"], "data": results["data"]}


def password_of(token: str) -> str:
    """Return the password in an authorization token."""
    return base64.b64decode(token).decode().removeprefix("AWS:")


@pytest.mark.parametrize(
    ("flags", "unsupported"),
    [
        pytest.param(EVERYTHING, set(), id="everything"),
        pytest.param((*EVERYTHING, "--encryption-keys", "keys.toml"), set(), id="encrypted"),
        # ECR has no deletes on /v2/ and takes no manifest before what it refers to.
        pytest.param((), DELETES | TAG_DELETES, id="ecr"),
    ],
)
def test_nothing_fails_and_only_what_ecr_lacks_is_unsupported(tmp_path, flags, unsupported):
    (tmp_path / "keys.toml").write_text(f'AES256 = "{"5b" * 32}"\n')
    flags = [str(tmp_path / flag) if flag == "keys.toml" else flag for flag in flags]
    results = run_suite(tmp_path, "--auth", "token", *flags, sparse=bool(flags))
    assert set(results["apis"].values()) | set(results["data"].values()) <= {"Pass", "Skip", "Disabled"}
    skipped = {name for name, outcome in results["apis"].items() if outcome != "Pass"}
    assert skipped == unsupported | NOT_OFFERED
    left_out = {name for name, outcome in results["data"].items() if outcome != "Pass"}
    assert left_out == (set() if flags else {"Sparse Manifests"})
