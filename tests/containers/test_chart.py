"""The Helm chart: linted, its objects checked against Kubernetes's schemas, and what it must refuse."""

import json
import subprocess

import pytest
import yaml

from ecr_emulator import __version__
from tests.clients.conftest import find_tool
from tests.serving import PATH, ROOT

CHART = ROOT / "charts" / "ecr-emulator"
VALIDATOR = ROOT / "build" / "containers-venv" / "bin" / "kubernetes-validate"
# The oldest that the chart takes, and the newest that there is.
KUBERNETES = ("1.27", "1.37")

STORES = {"metadataUrl": "postgresql://ecr:secret@db/ecr", "blobsUrl": "s3://layers/registry"}
HOSTS = {"enabled": True, "className": "nginx", "hosts": ["ecr.example"], "tls": [{"hosts": ["ecr.example"]}]}
WAYS = {
    "single": {},
    "single-elsewhere": {
        "persistence": {"existingClaim": "mine"},
        "settings": {"auth": "token", "garbage_grace": 60},
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "ci", "operator": "Exists"}],
    },
    "throw-away": {"persistence": {"enabled": False}, "settings": {"tls": "on"}},
    "scaled": {"replicas": 3, "stores": STORES, "ingress": HOSTS, "strategy": "RollingUpdate"},
    "scaled-with-a-secret": {
        "replicas": 2,
        "stores": {"existingSecret": "stores"},
        "serviceAccount": {
            "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::000000000000:role/s3"}
        },
        "extraEnv": [{"name": "AWS_CA_BUNDLE", "value": "/ca.pem"}],
        "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
    },
}


def helm(*args, values=None):
    return subprocess.run(
        [find_tool("helm3"), *map(str, args), "--values", "-"],
        input=json.dumps(values or {}),
        env={"PATH": PATH, "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rendered(values, *, release="ecr-emulator"):
    done = helm("template", release, CHART, values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(values, **options):
    return {each["kind"]: each for each in yaml.safe_load_all(rendered(values, **options)) if each}


def pod_of(values):
    return objects(values)["Deployment"]["spec"]["template"]["spec"]


def variables(pod):
    return {each["name"]: each for each in pod["containers"][0]["env"]}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_linted_and_valid(way, tmp_path):
    linted = helm("lint", "--strict", CHART, values=WAYS[way])
    assert linted.returncode == 0, linted.stdout
    file = tmp_path / "objects.yaml"
    file.write_text(rendered(WAYS[way]))
    for version in KUBERNETES:
        checked = subprocess.run(
            [VALIDATOR, "--strict", "--kubernetes-version", version, file],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_what_is_wrong_is_found(tmp_path):
    file = tmp_path / "objects.yaml"
    file.write_text(rendered({}).replace("periodSeconds", "periodSecond"))
    checked = subprocess.run([VALIDATOR, "--strict", file], capture_output=True, text=True, check=False)
    assert "periodSecond" in checked.stdout + checked.stderr
    assert checked.returncode == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 2}, "more than one replica needs"),
        ({"strategy": "RollingUpdate"}, "RollingUpdate needs"),
        ({"stores": {"metadataUrl": STORES["metadataUrl"]}}, "need each other"),
        ({"stores": {"existingSecret": "mine", **STORES}}, "takes the place of"),
        ({"stores": {**STORES, "blobsUrl": "http://s3/"}}, "stores.blobsUrl"),
        ({"settings": {"port": 80}}, "settings"),
        ({"ingress": {"enabled": True}}, "ingress.hosts"),
        ({"replica": 1}, "replica"),
    ],
)
def test_what_can_not_work_is_refused(values, message):
    done = helm("template", "ecr", CHART, values=values)
    assert done.returncode != 0
    # Versions of Helm write paths with dots or with slashes.
    assert message in done.stderr.replace("/", ".") or message in done.stderr


def test_one_server_has_a_volume_that_stays():
    made = objects({})
    assert made["PersistentVolumeClaim"]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert made["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    assert "Secret" not in made


def test_several_servers_keep_nothing():
    made = objects(WAYS["scaled"])
    assert "PersistentVolumeClaim" not in made
    assert made["Secret"]["stringData"] == STORES
    env = variables(made["Deployment"]["spec"]["template"]["spec"])
    assert env["ECR_EMULATOR_METADATA_URL"]["valueFrom"]["secretKeyRef"]["key"] == "metadataUrl"
    assert "secret@db" not in json.dumps(made["Deployment"])
    assert made["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_the_pod_has_no_more_rights_than_it_needs():
    pod = pod_of({})
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_service_of_the_same_name_sets_no_variables():
    made = objects({}, release="ecr-emulator")
    assert made["Service"]["metadata"]["name"] == "ecr-emulator"
    assert made["Deployment"]["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_settings_are_variables_and_tls_is_probed_by_tls():
    # As YAML has it: on is true.
    pod = pod_of(
        {"settings": {"tls": True, "engines": False, "garbage_grace": 31536000, "log_format": "json"}}
    )
    env = variables(pod)
    assert env["ECR_EMULATOR_TLS"]["value"] == "on"
    assert env["ECR_EMULATOR_ENGINES"]["value"] == "off"
    assert env["ECR_EMULATOR_GARBAGE_GRACE"]["value"] == "31536000"
    assert env["ECR_EMULATOR_LOG_FORMAT"]["value"] == "json"
    probes = [pod["containers"][0][name]["httpGet"]["scheme"] for name in ("livenessProbe", "readinessProbe")]
    assert probes == ["HTTPS", "HTTPS"]


def test_the_versions_are_the_programs():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
