"""Who may do what: policies of callers, repositories and registries decide on both planes."""

import http.client
import json

import pytest

from ecr_emulator.control import model
from ecr_emulator.control.access import actions
from ecr_emulator.control.operations import functions
from ecr_emulator.settings import MEMORY, Settings
from ecr_emulator.testing import BackgroundServer

from .conftest import connect, put_image, refused, sha256
from .oci_client import OciClient
from .test_bad_input import SPECIAL, sample

ACCOUNT, OTHER = "111122223333", "444455556666"
REPOSITORY = f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/app"
PULL = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"]
PUSH = [
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
    "ecr:PutImage",
    "ecr:BatchCheckLayerAvailability",
]


def statement(action, effect="Allow", **more):
    return {"Effect": effect, "Action": action, **more}


def identity(key, arn, *statements, **more):
    """Write a principal of the credentials file; each statement is on all resources by default."""
    listed = [{"Resource": "*", **each} for each in statements]
    lines = [f"[{key}]", f"arn = {json.dumps(arn)}", *(f"{k} = {json.dumps(v)}" for k, v in more.items())]
    document = toml({"Version": "2012-10-17", "Statement": listed})
    return "\n".join([*lines, f"policies = [{document if statements else ''}]"])


def toml(value):
    """Write a JSON value as TOML's inline tables are written."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def user(name, account=ACCOUNT):
    return f"arn:aws:iam::{account}:user/{name}"


TOKEN = statement("ecr:GetAuthorizationToken")
CREDENTIALS = "\n\n".join(
    [
        identity("NOBODY", user("nobody")),
        identity("PULLER", user("puller"), TOKEN, statement(PULL)),
        identity("PUSHER", user("pusher"), TOKEN, statement(PUSH, Resource=REPOSITORY)),
        identity("ADMIN", user("admin"), statement("ecr:*"), organization="o-1"),
        identity("LIMITED", user("limited"), statement("ecr:*"), statement("ecr:DeleteRepository", "Deny")),
        identity(
            "STRANGER", user("stranger", OTHER), TOKEN, statement(PULL + PUSH + ["ecr:CreateRepository"])
        ),
        identity("GUEST", user("guest", OTHER), TOKEN),
        identity("SESSION", f"arn:aws:sts::{ACCOUNT}:assumed-role/ci/run-7", TOKEN, statement("ecr:*")),
        identity(
            "TAGGER",
            user("tagger"),
            statement("ecr:CreateRepository", Condition={"Null": {"aws:RequestTag/team": "false"}}),
            statement("ecr:TagResource", Condition={"StringEquals": {"aws:RequestTag/team": ["a", "b"]}}),
            statement("ecr:UntagResource", Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["x"]}}),
            statement("ecr:ListImages", Condition={"StringEquals": {"ecr:ResourceTag/team": "a"}}),
            statement("ecr:DescribeImages", Condition={"StringEquals": {"aws:ResourceTag/team": "a"}}),
        ),
        identity("IMPORTER", user("importer"), statement([*PULL, "ecr:BatchImportUpstreamImage"])),
        *(
            identity(
                f"ONLY{name}",
                f"arn:aws:iam::000000000000:user/only{name}",
                # To create a repository with tags is to tag it.
                statement([action, "ecr:TagResource"] if name == "CreateRepository" else action),
            )
            for name, action in actions().items()
        ),
        *(
            identity(
                f"ALLBUT{name}",
                f"arn:aws:iam::000000000000:user/allbut{name}",
                {"Effect": "Allow", "NotAction": action},
            )
            for name, action in actions().items()
        ),
    ]
)


@pytest.fixture(scope="module", params=["off", "token"])
def running(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("credentials") / "credentials.toml"
    file.write_text(CREDENTIALS)
    settings = Settings(
        data_dir=MEMORY, port=0, auth=request.param, credentials=str(file), oci_deletes="on", oci_catalog="on"
    )
    with BackgroundServer(settings) as background:
        yield background


@pytest.fixture
def known(running):
    """An empty server that knows some principals."""
    running.reset()
    return running


@pytest.fixture
def owner(known):
    """The account's root, with the repository app and an image in it."""
    client = connect(known.url, ACCOUNT)
    client.create_repository(repositoryName="app")
    put_image(client, "app", "v1")
    return client


def v2(server, key, account=ACCOUNT):
    """Make a client of the data plane with a caller's token, at an account's host."""
    (granted,) = connect(server.url, key).get_authorization_token()["authorizationData"]
    host = f"{account}.dkr.ecr.us-east-1.amazonaws.com"
    return OciClient(server.address, Authorization=f"Basic {granted['authorizationToken']}", Host=host)


def denied(arn, action, resource=REPOSITORY, reason="because no identity-based policy allows the {} action"):
    return (
        f"User: {arn} is not authorized to perform: {action} on resource: {resource} {reason.format(action)}"
    )


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


BY_RESOURCE = "because no resource-based policy allows the {} action"
DENY = "with an explicit deny in a resource-based policy"


# ------------------------------------------------------------------------------------ each operation


@pytest.fixture
def call(known):
    """Call an operation with a good input, by an access key of the default account."""
    connection = http.client.HTTPConnection(known.address)

    def call(key, name):
        members = {**sample(model.operations()[name].input), **SPECIAL.get(name, {})}
        headers = {
            "X-Amz-Target": f"{model.target_prefix()}.{name}",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20300131/us-east-1/ecr/aws4_request",
        }
        connection.request("POST", "/", json.dumps({**members, "nextToken": None}), headers)
        return json.loads(connection.getresponse().read())

    yield call
    connection.close()


@pytest.mark.parametrize("name", sorted(functions()))
def test_each_operation_needs_its_action_and_no_other(call, name):
    action = actions()[name]
    answer = call(f"ALLBUT{name}", name)
    assert answer["__type"] == "AccessDeniedException"
    start = f"User: arn:aws:iam::000000000000:user/allbut{name} is not authorized to perform: {action} on "
    assert answer["message"].startswith(start)
    assert call(f"ONLY{name}", name).get("__type") != "AccessDeniedException"


# ------------------------------------------------------------------------------------ the data plane


def test_a_pull_needs_the_permissions_of_a_pull(known, owner):
    puller = v2(known, "PULLER")
    manifest = puller.get("/v2/app/manifests/v1")
    assert manifest.status == puller.head("/v2/app/manifests/v1").status == 200
    for layer in manifest.json()["layers"]:
        assert puller.get(f"/v2/app/blobs/{layer['digest']}").body == b"layer seed"
        assert puller.head(f"/v2/app/blobs/{layer['digest']}").status == 200
    pusher = v2(known, "PUSHER")
    arn, blob = user("pusher"), sha256(b"layer seed")
    for path, action in (
        ("manifests/v1", "ecr:BatchGetImage"),
        (f"blobs/{blob}", "ecr:GetDownloadUrlForLayer"),
        ("tags/list", "ecr:ListImages"),
        (f"referrers/{blob}", "ecr:BatchGetImage"),
    ):
        answer = pusher.get(f"/v2/app/{path}")
        assert (answer.error, answer.message) == ((403, "DENIED"), denied(arn, action))
    catalog = pusher.get("/v2/_catalog")
    assert catalog.message == denied(
        arn, "ecr:DescribeRepositories", f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/*"
    )


def test_a_push_needs_the_permissions_of_a_push(known, owner):
    image = v2(known, "PUSHER").push_image("app", "v2", seed="pushed")
    assert owner.batch_get_image(repositoryName="app", imageIds=[{"imageTag": "v2"}])["images"]
    location = v2(known, "PUSHER").begin_upload("app")
    puller, arn, blob = v2(known, "PULLER"), user("puller"), sha256(b"x")
    for method, path, body, action in (
        ("POST", "/v2/app/blobs/uploads/", None, "ecr:InitiateLayerUpload"),
        ("PATCH", location, b"x", "ecr:UploadLayerPart"),
        ("GET", location, None, "ecr:UploadLayerPart"),
        ("DELETE", location, None, "ecr:UploadLayerPart"),
        ("PUT", f"{location}?digest={blob}", b"x", "ecr:UploadLayerPart"),
        ("PUT", f"{location}?digest={blob}", None, "ecr:CompleteLayerUpload"),
        ("PUT", "/v2/app/manifests/v3", image.manifest, "ecr:PutImage"),
        ("DELETE", "/v2/app/manifests/v1", None, "ecr:BatchDeleteImage"),
        ("DELETE", f"/v2/app/blobs/{blob}", None, "ecr:BatchDeleteImage"),
    ):
        answer = puller.request(method, path, body)
        assert (answer.error, answer.message) == ((403, "DENIED"), denied(arn, action)), method
    # Nothing of that was done.
    tags = [each.get("imageTag") for each in owner.list_images(repositoryName="app")["imageIds"]]
    assert sorted(tags) == ["v1", "v2"]
    assert v2(known, "PUSHER").get(location).headers["Range"] == "0-0"


def test_permissions_are_of_the_resources_that_a_policy_names(known, owner):
    owner.create_repository(repositoryName="other")
    answer = v2(known, "PUSHER").post("/v2/other/blobs/uploads/")
    resource = REPOSITORY.replace("app", "other")
    assert answer.message == denied(user("pusher"), "ecr:InitiateLayerUpload", resource)


def test_whether_a_repository_exists_is_not_told_to_whom_it_is_denied(known, owner):
    nobody = connect(known.url, "NOBODY")
    for name in ("app", "absent"):
        code, message = refused(nobody.list_images, repositoryName=name)
        assert (code, message) == (
            "AccessDeniedException",
            denied(user("nobody"), "ecr:ListImages", REPOSITORY.replace("app", name)),
        )


def test_a_blob_is_mounted_only_for_whom_its_source_is_readable(known, owner):
    owner.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    owner.create_repository(repositoryName="source")
    put_image(owner, "source", "v1", seed="mounted")
    mount = f"/v2/app/blobs/uploads/?mount={sha256(b'layer mounted')}&from=source"
    assert v2(known, "PUSHER").post(mount).status == 202
    assert v2(known, "ADMIN").post(mount).status == 201


# ------------------------------------------------------------------------------------ whose policies


def test_an_explicit_deny_wins_wherever_it_is(known, owner):
    limited = connect(known.url, "LIMITED")
    assert refused(limited.delete_repository, repositoryName="app", force=True) == (
        "AccessDeniedException",
        denied(
            user("limited"),
            "ecr:DeleteRepository",
            reason="with an explicit deny in an identity-based policy",
        ),
    )
    deny = statement("ecr:DeleteRepository", "Deny", Principal="*")
    owner.set_repository_policy(repositoryName="app", policyText=policy(deny))
    for key, arn in (("ADMIN", user("admin")), (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")):
        assert refused(connect(known.url, key).delete_repository, repositoryName="app", force=True) == (
            "AccessDeniedException",
            denied(arn, "ecr:DeleteRepository", reason=DENY),
        )
    owner.delete_repository_policy(repositoryName="app")
    connect(known.url, "ADMIN").delete_repository(repositoryName="app", force=True)
    assert owner.describe_repositories()["repositories"] == []


def test_a_repository_policy_can_allow_by_itself_inside_its_account(known, owner):
    nobody = connect(known.url, "NOBODY")
    assert refused(nobody.list_images, repositoryName="app")[0] == "AccessDeniedException"
    allow = statement("ecr:ListImages", Principal={"AWS": user("nobody")})
    owner.set_repository_policy(repositoryName="app", policyText=policy(allow))
    assert len(nobody.list_images(repositoryName="app")["imageIds"]) == 1


@pytest.mark.parametrize("kind", ["repository", "registry"])
def test_another_account_needs_both_sides(known, owner, kind):
    stranger, arn = v2(known, "STRANGER"), user("stranger", OTHER)
    answer = stranger.get("/v2/app/manifests/v1")
    assert (answer.error, answer.message) == (
        (403, "DENIED"),
        denied(arn, "ecr:BatchGetImage", reason=BY_RESOURCE),
    )
    by_api = connect(known.url, "STRANGER")
    wanted = {"registryId": ACCOUNT, "repositoryName": "app", "imageIds": [{"imageTag": "v1"}]}
    assert refused(by_api.batch_get_image, **wanted) == (
        "AccessDeniedException",
        denied(arn, "ecr:BatchGetImage", reason=BY_RESOURCE),
    )
    allow = statement("ecr:*", Principal={"AWS": f"arn:aws:iam::{OTHER}:root"})
    if kind == "repository":
        owner.set_repository_policy(repositoryName="app", policyText=policy(allow))
    else:
        owner.put_registry_policy(policyText=policy({**allow, "Resource": REPOSITORY}))
    assert stranger.get("/v2/app/manifests/v1").status == 200
    assert stranger.push_image("app", "theirs", seed="theirs").digest
    assert len(by_api.batch_get_image(**wanted)["images"]) == 1
    # What the resource allows is nothing to whom the own account allows nothing.
    assert v2(known, "GUEST").get("/v2/app/manifests/v1").message == denied(
        user("guest", OTHER), "ecr:BatchGetImage"
    )


def test_a_token_for_another_registry_is_its_callers_all_the_same(known, owner):
    stranger = connect(known.url, "STRANGER")
    (granted,) = stranger.get_authorization_token(registryIds=[ACCOUNT])["authorizationData"]
    oci = OciClient(known.address, Authorization=f"Basic {granted['authorizationToken']}")
    assert oci.get("/v2/app/manifests/v1").error == (403, "DENIED")
    allow = statement(PULL, Principal={"AWS": OTHER})
    owner.set_repository_policy(repositoryName="app", policyText=policy(allow))
    assert oci.get("/v2/app/manifests/v1").status == 200


def test_callers_whom_nobody_knows_may_do_all_but_what_is_denied(known, owner):
    foreign = connect(known.url, OTHER)
    assert len(foreign.list_images(registryId=ACCOUNT, repositoryName="app")["imageIds"]) == 1
    assert v2(known, OTHER).get("/v2/app/manifests/v1").status == 200
    deny = statement("ecr:*Image*", "Deny", NotPrincipal={"AWS": ACCOUNT})
    owner.set_repository_policy(repositoryName="app", policyText=policy(deny))
    arn = f"arn:aws:iam::{OTHER}:root"
    assert refused(foreign.list_images, registryId=ACCOUNT, repositoryName="app") == (
        "AccessDeniedException",
        denied(arn, "ecr:ListImages", reason=DENY),
    )
    assert v2(known, OTHER).get("/v2/app/manifests/v1").message == denied(
        arn, "ecr:BatchGetImage", reason=DENY
    )
    assert len(owner.list_images(repositoryName="app")["imageIds"]) == 1


def test_a_tag_of_another_accounts_repository_is_the_other_accounts_business(known, owner):
    stranger = connect(known.url, "STRANGER")
    code, message = refused(stranger.list_tags_for_resource, resourceArn=REPOSITORY)
    assert (code, message) == (
        "AccessDeniedException",
        denied(user("stranger", OTHER), "ecr:ListTagsForResource"),
    )


# ---------------------------------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("key", "condition", "holds"),
    [
        ("ADMIN", {"ArnEquals": {"aws:PrincipalArn": user("admin")}}, True),
        ("SESSION", {"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/ci"}}, True),
        ("SESSION", {"ArnEquals": {"aws:PrincipalArn": user("admin")}}, False),
        ("ADMIN", {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}, True),
        ("ADMIN", {"StringEquals": {"aws:username": "admin"}}, True),
        ("ADMIN", {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, True),
        ("SESSION", {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, False),
        ("ADMIN", {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ("ADMIN", {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ("ADMIN", {"DateGreaterThan": {"aws:CurrentTime": "2031-01-01T00:00:00Z"}}, False),
        ("ADMIN", {"DateLessThan": {"aws:CurrentTime": "2031-01-01T00:00:00Z"}}, True),
        ("ADMIN", {"NumericLessThan": {"aws:EpochTime": "1900000000"}}, True),
        ("ADMIN", {"Bool": {"aws:SecureTransport": "false"}}, True),
        ("ADMIN", {"Bool": {"aws:SecureTransport": "true"}}, False),
        ("ADMIN", {"StringLike": {"aws:UserAgent": "Boto3/*"}}, True),
        ("ADMIN", {"StringLike": {"aws:UserAgent": "curl/*"}}, False),
    ],
)
def test_conditions_are_on_what_the_request_is_like(known, owner, key, condition, holds):
    known.manage("clock", {"now": "2030-01-31T12:00:00Z"})
    deny = statement("ecr:ListImages", "Deny", Principal="*", Condition=condition)
    owner.set_repository_policy(repositoryName="app", policyText=policy(deny))
    caller = connect(known.url, key)
    if holds:
        assert refused(caller.list_images, repositoryName="app")[0] == "AccessDeniedException"
    else:
        assert len(caller.list_images(repositoryName="app")["imageIds"]) == 1


def test_tags_of_the_request_and_of_the_resource_decide(known, owner):
    tagger = connect(known.url, "TAGGER")

    def tags(team):
        return [{"Key": "team", "Value": team}]

    assert refused(tagger.create_repository, repositoryName="new")[0] == "AccessDeniedException"
    code, message = refused(tagger.create_repository, repositoryName="new", tags=tags("c"))
    assert (code, "ecr:TagResource on" in message) == ("AccessDeniedException", True)
    tagger.create_repository(repositoryName="new", tags=tags("a"))
    new = {"repositoryName": "new"}
    arn = REPOSITORY.replace("app", "new")
    assert tagger.list_images(**new)["imageIds"] == tagger.describe_images(**new)["imageDetails"] == []
    assert refused(tagger.tag_resource, resourceArn=arn, tags=tags("c"))[0] == "AccessDeniedException"
    tagger.tag_resource(resourceArn=arn, tags=tags("b"))
    for operation in (tagger.list_images, tagger.describe_images):
        assert refused(operation, **new)[0] == "AccessDeniedException"
    assert refused(tagger.untag_resource, resourceArn=arn, tagKeys=["team"])[0] == "AccessDeniedException"
    assert (
        refused(tagger.untag_resource, resourceArn=arn, tagKeys=["x", "team"])[0] == "AccessDeniedException"
    )
    tagger.untag_resource(resourceArn=arn, tagKeys=["x"])


# ------------------------------------------------------------------------- what requests bring along


def test_a_policy_that_would_lock_its_setter_out_has_to_be_forced(known, owner):
    admin = connect(known.url, "ADMIN")
    lock = policy(statement("ecr:SetRepositoryPolicy", "Deny", Principal={"AWS": user("admin")}))
    code, message = refused(admin.set_repository_policy, repositoryName="app", policyText=lock)
    assert code == "InvalidParameterException"
    assert message.startswith("Invalid parameter at 'PolicyText' failed to satisfy constraint: ")
    assert (
        refused(admin.get_repository_policy, repositoryName="app")[0] == "RepositoryPolicyNotFoundException"
    )
    # It locks nobody else out.
    owner.set_repository_policy(repositoryName="app", policyText=lock)
    owner.delete_repository_policy(repositoryName="app")
    admin.set_repository_policy(repositoryName="app", policyText=lock, force=True)
    assert refused(admin.set_repository_policy, repositoryName="app", policyText=lock, force=True) == (
        "AccessDeniedException",
        denied(user("admin"), "ecr:SetRepositoryPolicy", reason=DENY),
    )


def test_a_push_creates_a_repository_only_for_whom_may_create_it(known, owner):
    owner.create_repository_creation_template(prefix="ROOT", appliedFor=["CREATE_ON_PUSH"])
    allow = statement(PUSH, Principal={"AWS": OTHER}, Resource="*")
    owner.put_registry_policy(policyText=policy(allow))
    stranger, arn = v2(known, "STRANGER"), user("stranger", OTHER)
    answer = stranger.post("/v2/new/blobs/uploads/")
    resource = REPOSITORY.replace("app", "new")
    assert answer.message == denied(arn, "ecr:CreateRepository", resource, BY_RESOURCE)
    assert len(owner.describe_repositories()["repositories"]) == 1
    allow["Action"] = [*PUSH, "ecr:CreateRepository"]
    owner.put_registry_policy(policyText=policy(allow))
    stranger.push_image("new", "v1")
    assert len(owner.describe_repositories()["repositories"]) == 2


def test_a_pull_imports_an_image_only_for_whom_may_import_it(known, owner):
    there = connect(known.url, ACCOUNT, "eu-west-1")
    there.create_repository(repositoryName="lib")
    put_image(there, "lib", "v1")
    host = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
    owner.create_pull_through_cache_rule(ecrRepositoryPrefix="up", upstreamRegistryUrl=host)
    wanted = {"repositoryName": "up/lib", "imageIds": [{"imageTag": "v1"}]}
    puller, importer, admin = (connect(known.url, key) for key in ("PULLER", "IMPORTER", "ADMIN"))
    for caller in (puller, importer):
        assert refused(caller.batch_get_image, **wanted)[0] == "RepositoryNotFoundException"
    owner.create_repository(repositoryName="up/lib")
    (failure,) = puller.batch_get_image(**wanted)["failures"]
    assert failure["failureCode"] == "ImageNotFound"
    assert len(importer.batch_get_image(**wanted)["images"]) == 1
    # What is in the cache is for all who may pull.
    assert len(puller.batch_get_image(**wanted)["images"]) == 1
    owner.delete_repository(repositoryName="up/lib", force=True)
    assert len(admin.batch_get_image(**wanted)["images"]) == 1


def test_a_caller_needs_the_permission_to_import_what_a_list_of_referrers_brings(known, owner):
    there = connect(known.url, ACCOUNT, "eu-west-1")
    there.create_repository(repositoryName="lib")
    subject = put_image(there, "lib", "v1")
    pulled = there.batch_get_image(repositoryName="lib", imageIds=[{"imageTag": "v1"}])["images"][0]
    manifest = json.loads(pulled["imageManifest"])
    manifest["subject"] = {"mediaType": manifest["mediaType"], "digest": subject, "size": 1}
    there.put_image(repositoryName="lib", imageManifest=json.dumps(manifest))
    host = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
    owner.create_pull_through_cache_rule(ecrRepositoryPrefix="up", upstreamRegistryUrl=host)
    wanted = {"repositoryName": "up/lib", "subjectId": {"imageDigest": subject}}
    puller, importer = (connect(known.url, key) for key in ("PULLER", "IMPORTER"))
    for caller in (puller, importer):
        assert refused(caller.list_image_referrers, **wanted)[0] == "RepositoryNotFoundException"
    owner.create_repository(repositoryName="up/lib")
    assert puller.list_image_referrers(**wanted)["referrers"] == []
    for caller in (importer, puller):
        assert len(caller.list_image_referrers(**wanted)["referrers"]) == 1


def test_an_upstream_of_the_emulator_has_its_say(known, owner):
    there = connect(known.url, OTHER, "eu-west-1")
    there.create_repository(repositoryName="lib")
    put_image(there, "lib", "v1")
    deny = statement("ecr:BatchGetImage", "Deny", Principal={"AWS": ACCOUNT})
    there.set_repository_policy(repositoryName="lib", policyText=policy(deny))
    owner.create_pull_through_cache_rule(
        ecrRepositoryPrefix="up",
        upstreamRegistryUrl=f"{OTHER}.dkr.ecr.eu-west-1.amazonaws.com",
        customRoleArn=f"arn:aws:iam::{ACCOUNT}:role/puller",
    )
    oci = v2(known, ACCOUNT)
    assert oci.get("/v2/up/lib/manifests/v1").error == (403, "DENIED")
    assert oci.get(f"/v2/up/lib/referrers/sha256:{'0' * 64}").error == (403, "DENIED")
    there.delete_repository_policy(repositoryName="lib")
    assert oci.get("/v2/up/lib/manifests/v1").status == 200
