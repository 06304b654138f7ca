"""Bad input, made from the service model for every operation that there is, and sent unchecked.

It is answered by an error of the right kind that names the place, changes nothing, and never by 500.
"""

import base64
import copy
import functools
import http.client
import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecr_emulator.control import model
from ecr_emulator.control.endpoint import MAX_LARGE_REQUEST_SIZE, MAX_REQUEST_SIZE
from ecr_emulator.control.operations import functions

from .conftest import OCI_MANIFEST, image_manifest, sha256

# What is refused, or spoken, before anything is stored: the same whatever the stores are.
pytestmark = pytest.mark.local

IMPLEMENTED = sorted(functions())
MIB = 1 << 20

APP = {"repositoryName": "app"}
BLOBS = (b"config seed", b"layer seed")
BEGUN = b"begun"
NEW_MANIFEST = image_manifest(*BLOBS, annotations={"new": "yes"})
REPOSITORY_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}],
    }
)
REGISTRY_POLICY = REPOSITORY_POLICY.replace('"Action"', '"Resource": "*", "Action"')
LIFECYCLE_POLICY = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 9},
                "action": {"type": "expire"},
            }
        ]
    }
)

# A good value of each shape for which its type and its constraints alone do not make one.
SAMPLES: dict[str, Any] = {
    "AccountSettingName": "BLOB_MOUNTING",
    "AccountSettingValue": "ENABLED",
    "Arn": "arn:aws:ecr:us-east-1:000000000000:repository/app",
    "CredentialArn": "arn:aws:secretsmanager:us-east-1:000000000000:secret:ecr-pullthroughcache/quay-AbCdEf",
    "CustomRoleArn": "arn:aws:iam::000000000000:role/puller",
    "EncryptionType": "KMS",
    "ImageDigest": sha256(image_manifest(*BLOBS)),
    "ImageManifest": image_manifest(*BLOBS).decode(),
    "ImageTag": "v1",
    "ImageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
    "ImageTagMutabilityExclusionFilterValue": "dev-*",
    "BatchedOperationLayerDigest": sha256(BLOBS[1]),
    "KmsKeyForRepositoryCreationTemplate": "arn:aws:kms:us-east-1:000000000000:key/1",
    "LayerDigest": sha256(BLOBS[1]),
    "LifecyclePolicyText": LIFECYCLE_POLICY,
    "LifecyclePolicyTextForRepositoryCreationTemplate": LIFECYCLE_POLICY,
    "MediaType": OCI_MANIFEST,
    "Prefix": "prefix/",
    "PrincipalArn": "arn:aws:iam::000000000000:role/puller",
    "PullThroughCacheRuleRepositoryPrefix": "quay",
    "Region": "eu-west-1",
    "RegistryId": "000000000000",
    "RegistryPolicyText": REGISTRY_POLICY,
    "ReplicationBackfillId": "00000000-0000-0000-0000-000000000000",
    "RepositoryFilterValue": "app",
    "RepositoryName": "app",
    "RepositoryPolicyText": REPOSITORY_POLICY,
    "ScanningRepositoryFilterValue": "app*",
    "SigningProfileArn": "arn:aws:signer:us-east-1:000000000000:/signing-profiles/profile",
    "SigningRepositoryFilterValue": "app*",
    "UpstreamRegistry": "quay",
    "Url": "quay.io",
    # Stands for the id of the upload that is under way.
    "UploadId": "ffffffff-ffff-ffff-ffff-ffffffffffff",
}
# What an operation's input has to be besides, to be performed; a null counts as absent.
SPECIAL: dict[str, dict[str, Any]] = {
    "CompleteLayerUpload": {"layerDigests": [sha256(BEGUN)]},
    "CreateRepository": {"repositoryName": "new"},
    "DescribeImages": {"maxResults": None},
    "DescribeRepositories": {"maxResults": None},
    "GetLifecyclePolicyPreview": {"maxResults": None},
    "PutImage": {
        "imageManifest": NEW_MANIFEST.decode(),
        "imageDigest": sha256(NEW_MANIFEST),
        "imageTag": "new",
    },
    "UpdateImageStorageClass": {"targetStorageClass": "ARCHIVE"},
    "UploadLayerPart": {"partFirstByte": len(BEGUN), "partLastByte": len(BEGUN)},
}


class Answer(NamedTuple):
    """An HTTP response of the control plane; ``body`` is its JSON value."""

    status: int
    headers: http.client.HTTPMessage
    body: Any


class Api:
    """Sends requests over one connection, as they are."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=30)

    def close(self) -> None:
        self._connection.close()

    def request(
        self, method: str, headers: dict[str, str], body: bytes
    ) -> tuple[http.client.HTTPResponse, bytes]:
        self._connection.request(method, "/", body, headers)
        response = self._connection.getresponse()
        return response, response.read()

    def send(self, operation: str, body: bytes) -> Answer:
        headers = {
            "X-Amz-Target": f"{model.target_prefix()}.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        response, content = self.request("POST", headers, body)
        return Answer(response.status, response.headers, json.loads(content))

    def call(self, operation: str, members: Any) -> Answer:
        return self.send(operation, json.dumps(members).encode())

    def perform(self, operation: str, **members: Any) -> Any:
        """Call an operation that has to succeed."""
        answer = self.call(operation, members)
        assert answer.status == 200, answer
        return answer.body


def fault(answer: Answer, *codes: str, place: str = "") -> str | None:
    """Tell what is wrong with the answer to bad input, if anything."""
    body, headers = answer.body, answer.headers
    kind = body.get("__type")
    if answer.status != 400 or kind not in codes or headers["x-amzn-ErrorType"] != kind:
        return f"{answer.status} {body}"
    if not headers["x-amzn-RequestId"] or headers["Content-Type"] != "application/x-amz-json-1.1":
        return str(headers)
    if not isinstance(body.get("message"), str) or place not in body["message"]:
        return f"{place} is not told in {body}"
    return None


# The operations that set what a registry and a repository can have, and those that show it.
SET_UP = (
    "SetRepositoryPolicy",
    "PutLifecyclePolicy",
    "PutRegistryPolicy",
    "PutAccountSetting",
    "PutReplicationConfiguration",
    "PutSigningConfiguration",
    "CreateRepositoryCreationTemplate",
)
SHOWN = [
    name
    for name in IMPLEMENTED
    if name.startswith(("Describe", "Get", "List"))
    and name not in ("GetAuthorizationToken", "GetDownloadUrlForLayer")
]


class State:
    """A registry with a repository that has everything, and an upload under way."""

    def __init__(self, api: Api) -> None:
        self._api = api
        api.perform("CreateRepository", **APP, tags=[{"Key": "team", "Value": "x"}])
        for blob in BLOBS:
            upload = self._begin_upload(blob)
            api.perform("CompleteLayerUpload", **upload, layerDigests=[sha256(blob)])
        api.perform("PutImage", **APP, imageManifest=SAMPLES["ImageManifest"], imageTag="v1")
        self.upload = self._begin_upload(BEGUN)
        for name in SET_UP:
            api.perform(name, **self.valid_input(name))

    def _begin_upload(self, content: bytes) -> dict[str, str]:
        upload = {**APP, "uploadId": self._api.perform("InitiateLayerUpload", **APP)["uploadId"]}
        part = {
            "partFirstByte": 0,
            "partLastByte": len(content) - 1,
            "layerPartBlob": base64.b64encode(content).decode(),
        }
        self._api.perform("UploadLayerPart", **upload, **part)
        return upload

    def read(self) -> dict[str, Any]:
        """Return everything that the API shows."""
        shown = {name: self._api.call(name, self.least_input(name)).body for name in SHOWN}
        digests = [sha256(blob) for blob in (*BLOBS, BEGUN)]
        gap = {"partFirstByte": 99, "partLastByte": 99, "layerPartBlob": ""}
        return {
            **shown,
            "layers": self._api.perform("BatchCheckLayerAvailability", **APP, layerDigests=digests),
            "upload": self._api.call("UploadLayerPart", {**self.upload, **gap}).body,
        }

    def valid_input(self, name: str) -> dict[str, Any]:
        """Return an input with every member that an operation can have together."""
        operation = model.operations()[name]
        members = {**sample(operation.input), **SPECIAL.get(name, {})}
        if "nextToken" in members:
            members["nextToken"] = None
        filled: dict[str, Any] = self.fill(members)
        model.decode_input(operation, filled)
        return filled

    def least_input(self, name: str) -> dict[str, Any]:
        """Return an input with the members that an operation needs."""
        required = model.shape(model.operations()[name].input).get("required", ())
        good = self.valid_input(name)
        return {member: good[member] for member in required}

    def fill(self, members: Any) -> Any:
        """Return an input with the id of the upload in the place of its sample."""
        return json.loads(json.dumps(members).replace(SAMPLES["UploadId"], self.upload["uploadId"]))


@pytest.fixture
def api(server) -> Iterator[Api]:
    connection = Api(server.address)
    yield connection
    connection.close()


@pytest.fixture
def state(api) -> State:
    return State(api)


@pytest.fixture(params=IMPLEMENTED)
def operation(request) -> model.Operation:
    return model.operations()[request.param]


def sample(name: str) -> Any:
    """Make a good value of a shape, a structure with all its members."""
    if name in SAMPLES:
        return SAMPLES[name]
    spec = model.shape(name)
    least = max(spec.get("min", 1), 1)
    match spec["type"]:
        case "structure":
            return {member: sample(target) for member, target in spec["members"].items()}
        case "list":
            return [sample(spec["member"])] * least
        case "map":
            return {sample(spec["key"]): sample(spec["value"])}
        case "string":
            assert "pattern" not in spec, f"SAMPLES needs a value of {name}"
            return spec["enum"][0] if "enum" in spec else "x" * least
        case "integer" | "long":
            return least
        case "boolean":
            return True
        case "blob":
            return base64.b64encode(b"x").decode()
        case _:
            return 1.0


# Values of another JSON type than a shape's; a blob's are no base64, either.
WRONG_TYPES: dict[str, tuple[Any, ...]] = {
    "structure": ("x", 1, True, []),
    "map": ("x", 1, True, []),
    "list": ("x", 1, True, {}),
    "string": (1, 1.5, True, [], {}, "\ud800", "v1\udfff"),
    "integer": ("1", 1.5, True, [], {}),
    "long": ("1", 1.5, True, [], {}),
    "boolean": ("true", 0, 1, [], {}),
    "blob": (1, True, [], {}, "!", "eA", "\ud800"),
    "double": ("1", True, [], {}),
    "timestamp": ("1", True, [], {}),
}
HUGE = 10**30
MISSING = object()
Path = tuple[str | int, ...]


def put(value: Any, path: Path, part: Any) -> Any:
    """Return a JSON value with another part at a path, or without the one there if that is MISSING."""
    if not path:
        return part
    changed = copy.copy(value)
    if part is MISSING and len(path) == 1:
        del changed[path[0]]
    else:
        changed[path[0]] = put(value[path[0]] if len(path) > 1 else None, path[1:], part)
    return changed


def paths_of(value: Any) -> list[Path]:
    """Return the paths to all parts of a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(), *((key, *path) for key in keys for path in paths_of(value[key]))]


class Mutation(NamedTuple):
    """What makes an input bad: a value at a place, and the error that tells so."""

    path: Path
    value: Any
    error: str

    def __str__(self) -> str:
        value = "missing" if self.value is MISSING else repr(self.value)
        return f"{dotted(self.path)} = {value[:80]}"

    @property
    def place(self) -> str:
        """How the error's message names the place: of a list's member it names the list."""
        of_member = self.error == CONSTRAINT and isinstance(self.path[-1], int)
        return f"'{dotted(self.path[:-1] if of_member else self.path)}'"


TYPE, CONSTRAINT = "SerializationException", "InvalidParameterException"


def dotted(path: Path) -> str:
    return ".".join(f"{step + 1}.member" if isinstance(step, int) else step for step in path)


def mutations(name: str, good: Any, path: Path = ()) -> Iterator[Mutation]:
    """Make all that can be wrong with the value of a shape and with its parts."""
    spec = model.shape(name)
    kind, least, most = spec["type"], spec.get("min", 0), spec.get("max")
    if path:
        for value in WRONG_TYPES[kind]:
            yield Mutation(path, value, TYPE)
    if kind == "structure":
        for member, target in spec["members"].items():
            if member in spec.get("required", ()):
                yield Mutation((*path, member), MISSING, CONSTRAINT)
                yield Mutation((*path, member), None, CONSTRAINT)
            yield from mutations(target, good.get(member), (*path, member))
    elif kind == "list":
        if least:
            yield Mutation(path, good[: least - 1], CONSTRAINT)
        if most is not None:
            yield Mutation(path, good[:1] * (most + 1), CONSTRAINT)
        yield Mutation((*path, 0), None, CONSTRAINT)
        yield from mutations(spec["member"], good[0], (*path, 0))
    elif kind == "string":
        yield from (Mutation(path, value, CONSTRAINT) for value in bad_strings(spec))
    elif kind in ("integer", "long"):
        yield Mutation(path, least - 1 if "min" in spec else -HUGE, CONSTRAINT)
        yield Mutation(path, HUGE if most is None else most + 1, CONSTRAINT)
        yield Mutation(path, float(HUGE), CONSTRAINT)
    elif kind == "blob" and most is not None:
        yield Mutation(path, base64.b64encode(bytes(most + 1)).decode(), CONSTRAINT)


def bad_strings(spec: dict[str, Any]) -> Iterator[str]:
    """Make strings that violate each of a shape's constraints."""
    if "enum" in spec:
        yield from ("", "x", spec["enum"][0].swapcase(), f"{spec['enum'][0]} ")
    if spec.get("min"):
        yield "a" * (spec["min"] - 1)
    if "max" in spec:
        yield "a" * (spec["max"] + 1)
    if "pattern" in spec:
        # The last ones are as long as may be, for patterns that would backtrack.
        longest = spec.get("max", 300)
        yield from ("ü ü", "!\n!", "a" * (longest - 1) + "!", "a-" * (longest // 2 - 1) + "!")


def test_the_inputs_are_good_but_for_what_is_changed(state, api, operation):
    answer = api.call(operation.name, state.valid_input(operation.name))
    if answer.status != 200:
        assert answer.body["__type"] in {*operation.errors} - {CONSTRAINT, "ValidationException"}


def test_bad_members_are_told_and_change_nothing(state, api, operation):
    good = state.valid_input(operation.name)
    before = state.read()
    faults = {}
    for path, group in itertools.groupby(mutations(operation.input, good), lambda mutation: mutation.path):
        for mutation in group:
            answer = api.call(operation.name, put(good, path, mutation.value))
            if found := fault(answer, mutation.error, place=mutation.place):
                faults[str(mutation)] = found
        after = state.read()
        if after != before:
            faults[dotted(path)] = "something bad there changed the state"
        before = after
    assert faults == {}


def skeleton(value: Any) -> Any:
    """Return a JSON value with the types of its scalars in their place."""
    if isinstance(value, dict):
        return {key: skeleton(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [skeleton(entry) for entry in value]
    return type(value)


def with_strangers(value: Any) -> Any:
    """Return a JSON value with members that no shape has in each of its objects."""
    if isinstance(value, dict):
        known = {key: with_strangers(entry) for key, entry in value.items()}
        return {"stranger": {"a": [1, None]}, **known, "\ud800": "\ud800", "": 10**300}
    return [with_strangers(entry) for entry in value] if isinstance(value, list) else value


def test_members_that_nobody_knows_are_passed_over(server, api, operation):
    answers = []
    for change in (copy.deepcopy, with_strangers):
        server.reset()
        members = State(api).valid_input(operation.name)
        answers.append(api.call(operation.name, change(members)))
    assert answers[0].status == answers[1].status
    assert skeleton(answers[0].body) == skeleton(answers[1].body)


def test_null_counts_as_absent(server, api, operation):
    absent = dict.fromkeys(model.shape(operation.input)["members"])
    answers = []
    for filler in ({}, absent):
        server.reset()
        members = {**filler, **State(api).least_input(operation.name)}
        answers.append(api.call(operation.name, members))
    assert answers[0].status == answers[1].status
    assert skeleton(answers[0].body) == skeleton(answers[1].body)


NO_INPUT = {
    "no JSON": b"x",
    "cut off": b'{"repositoryName": "app"',
    "single quotes": b"{'repositoryName': 'app'}",
    "more than one value": b'{"repositoryName": "app"} {}',
    "a comma too many": b'{"repositoryName": "app",}',
    "a list": b"[]",
    "a string": b'"app"',
    "a number": b"1",
    "a boolean": b"true",
    "null": b"null",
    "NaN": b'{"repositoryName": "app", "x": NaN}',
    "Infinity": b'{"repositoryName": "app", "x": -Infinity}',
    "open lists": b"[" * 100_000,
    "open objects": b'{"x":' * 100_000,
    "deep lists": b'{"repositoryName": "app", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of 10,000 digits": b'{"repositoryName": "app", "x": ' + b"9" * 10_000 + b"}",
    "no UTF-8": b'{"repositoryName": "app\xff"}',
    "no UTF-8 outside of strings": b'\xff{"repositoryName": "app"}',
    "no UTF-8 in a member's name": b'{"\xc3(": 1, "repositoryName": "app"}',
    "a surrogate in UTF-8": b'{"repositoryName": "app", "kmsKey": 1, "imageTagMutability": "\xed\xa0\x80"}',
    "NUL bytes": b"\x00" * 10,
}


@pytest.mark.parametrize("body", NO_INPUT.values(), ids=NO_INPUT)
def test_what_is_no_input_is_told(state, api, body):
    before = state.read()
    assert fault(api.send("CreateRepository", body), TYPE) is None
    assert state.read() == before


def test_numbers_past_a_double_are_no_integers(state, api):
    answer = api.send("DescribeRepositories", b'{"maxResults": 1e400}')
    assert fault(answer, TYPE, place="'maxResults'") is None
    assert api.send("DescribeRepositories", b'{"maxResults": 1e1}').status == 200


def test_an_empty_body_is_an_empty_input(state, api):
    assert [
        entry["repositoryName"] for entry in api.send("DescribeRepositories", b"").body["repositories"]
    ] == ["app"]
    answer = api.send("CreateRepository", b"")
    assert fault(answer, CONSTRAINT, place="'repositoryName'") is None


@pytest.mark.parametrize(
    ("operation", "size"),
    [
        ("UploadLayerPart", MAX_LARGE_REQUEST_SIZE + 1),
        ("UploadLayerPart", MAX_LARGE_REQUEST_SIZE + 8 * MIB),
        ("InitiateLayerUpload", MAX_REQUEST_SIZE + 1),
    ],
)
def test_a_body_has_a_greatest_size(state, server, operation, size):
    before = state.read()
    api = Api(server.address)
    members = json.dumps(
        {**state.upload, "partFirstByte": 5, "partLastByte": 5, "layerPartBlob": ""}
    ).encode()
    body = members[:-2] + b"x" * (size - len(members)) + members[-2:]
    assert fault(api.send(operation, body), TYPE) is None
    api.close()
    assert state.read() == before


PREFIX = model.target_prefix()


@pytest.mark.parametrize(
    "target",
    [
        "",
        ".",
        "DescribeRepositories",
        ".DescribeRepositories",
        f"{PREFIX}.",
        f"{PREFIX}.Nothing",
        f"{PREFIX}.describeRepositories",
        f"{PREFIX}.DescribeRepositories.",
        f"{PREFIX.lower()}.DescribeRepositories",
        "SpencerFrontendService.DescribeRepositories",
        f"{PREFIX}.{'x' * 4000}",
        f"{PREFIX}.\xfc",
    ],
)
def test_an_unknown_target_is_told(api, target):
    response, content = api.request("POST", {"X-Amz-Target": target}, b"{}")
    answer = Answer(response.status, response.headers, json.loads(content))
    assert fault(answer, "UnknownOperationException") is None


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {}),
        *(
            (method, {"X-Amz-Target": f"{PREFIX}.DescribeRepositories"})
            for method in ("GET", "PUT", "DELETE")
        ),
    ],
)
def test_what_is_for_no_operation_is_not_found(api, method, headers):
    response, content = api.request(method, headers, b"")
    assert (response.status, content) == (404, b"<UnknownOperationException/>\n")
    assert response.headers["Content-Type"].startswith("text/xml")
    assert response.headers["x-amzn-RequestId"]


def test_requests_have_ids_of_their_own(api):
    ids = {
        api.send("DescribeRepositories", body).headers["x-amzn-RequestId"] for body in (b"{}", b"{}", b"x")
    }
    assert len(ids) == 3


def test_operations_that_are_not_there_say_so(api):
    absent = {}
    for name in model.operations():
        answer = api.call(name, {})
        if answer.body.get("__type") == "NotImplementedException":
            absent[name] = fault(answer, "NotImplementedException", place=name)
    assert absent == dict.fromkeys(model.operations().keys() - functions().keys())


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=8), values, max_size=3),
    max_leaves=6,
)


@functools.cache
def values_of(name: str) -> st.SearchStrategy[Any]:
    """Make values of a shape: mostly of its type, and mostly within its constraints."""
    spec = model.shape(name)
    match spec["type"]:
        case "structure":
            members = {member: values_of(target) for member, target in spec["members"].items()}
            required = {member: members.pop(member) for member in spec.get("required", ())}
            typed = st.fixed_dictionaries(required, optional=members)
        case "list":
            typed = st.lists(values_of(spec["member"]), max_size=3)
        case "map":
            typed = st.dictionaries(values_of(spec["key"]), values_of(spec["value"]), max_size=3)
        case "string":
            typed = strings_of(name)
        case "integer" | "long":
            typed = st.integers(-1, 10) | st.integers()
        case "blob":
            typed = st.binary(max_size=30).map(lambda content: base64.b64encode(content).decode())
        case kind:
            typed = st.booleans() if kind == "boolean" else st.floats(allow_nan=False, allow_infinity=False)
    # One in sixteen values is of any type.
    return st.integers(0, 15).flatmap(lambda number: typed if number else JSON_VALUES)


def strings_of(name: str) -> st.SearchStrategy[str]:
    """Make strings of a shape; of one that is a JSON text, such with something else in it."""
    spec, good = model.shape(name), sample(name)
    if good.startswith("{"):
        document = json.loads(good)
        places = st.sampled_from(paths_of(document))
        return st.builds(lambda path, part: json.dumps(put(document, path, part)), places, JSON_VALUES)
    chosen = st.sampled_from([good, *spec.get("enum", ())])
    return chosen | st.text(max_size=30) | st.from_regex(spec.get("pattern", r"\w{1,9}"))


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_input_makes_the_server_fail(state, api, operation, data):
    members = data.draw(values_of(operation.input))
    answer = api.call(operation.name, state.fill(members))
    if answer.status != 200:
        assert fault(answer, *operation.errors, TYPE, CONSTRAINT) is None
