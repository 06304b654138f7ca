"""Events and audit records, held against the examples of the ECR user guide."""

import jsonschema
import pytest

from ecr_emulator.events import audit, builders
from ecr_emulator.events.audit import Action, ExpiredImage, PolicyExecution
from ecr_emulator.events.builders import FrequencyChange, Place, Subject
from tests.shapes import check_event, check_record

DIGEST = "sha256:7f5b2640fe6fb4f46592dfd3410c4a79dac4f89e4782432e0378abcd1234"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
ARN = "arn:aws:ecr:us-west-2:123456789012:repository/app"
PLACE = Place("123456789012", "us-west-2", "app", ARN, 1573869274.9)
IMAGE = Subject(DIGEST, MANIFEST, CONFIG, is_referrer=False)
INDEX = Subject(DIGEST, "application/vnd.oci.image.index.v1+json", None, is_referrer=False)
SBOM = Subject(DIGEST, MANIFEST, "text/sbom+json", is_referrer=True)
ACTION = {"result": "SUCCESS", "repository-name": "app", "image-digest": DIGEST}
TYPED = {"manifest-media-type": MANIFEST, "artifact-media-type": CONFIG}
RESTORED_AT = 1760123582.74

FINDING = {
    "awsAccountId": "123456789012",
    "description": None,
    "findingArn": "arn:aws:inspector2:us-west-2:123456789012:finding/" + "be674aad" * 4,
    "firstObservedAt": 1638554550.9,
    "lastObservedAt": 1638504150.0,
    "packageVulnerabilityDetails": {
        "cvss": [
            {
                "baseScore": 6.5,
                "scoringVector": "CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:U/C:H/I:N/A:N",
                "source": "REDHAT_CVE",
                "version": "3.0",
            }
        ],
        "referenceUrls": ["https://access.redhat.com/errata/RHSA-2020:3915"],
        "relatedVulnerabilities": [],
        "source": "REDHAT_CVE",
        "sourceUrl": None,
        "vendorCreatedAt": 1571184000.0,
        "vendorSeverity": "Moderate",
        "vendorUpdatedAt": None,
        "vulnerabilityId": "CVE-2019-17498",
        "vulnerablePackages": [
            {
                "arch": "X86_64",
                "epoch": 0,
                "filePath": None,
                "fixedInVersion": "NotAvailable",
                "name": "libssh2",
                "packageManager": "OS",
                "release": "12.amzn2.2",
                "sourceLayerHash": DIGEST,
                "version": "1.4.3",
            }
        ],
    },
    "remediation": {"recommendation": {"text": "None Provided"}},
    "resources": [
        {
            "id": f"{ARN}/{DIGEST}",
            "type": "AWS_ECR_CONTAINER_IMAGE",
            "tags": {},
            "details": {
                "awsEcrContainerImage": {
                    "architecture": None,
                    "imageHash": DIGEST,
                    "imageTags": ["latest"],
                    "platform": "AMAZON_LINUX_2",
                    "pushedAt": 1638576000.0,
                    "registry": "123456789012",
                    "repositoryName": "app",
                }
            },
        }
    ],
    "score": 6.5,
    "scoreDetails": {
        "cvss": {
            "adjustments": [],
            "score": 6.5,
            "scoreSource": "REDHAT_CVE",
            "scoringVector": "CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:U/C:H/I:N/A:N",
            "version": "3.0",
        }
    },
    "severity": "MEDIUM",
    "status": "ACTIVE",
    "title": "CVE-2019-17498 - libssh2",
    "type": "PACKAGE_VULNERABILITY",
    "updatedAt": 1638532800.0,
    "fixAvailable": "NO",
    "exploitAvailable": "NO",
}
FOUND = {
    "awsAccountId": "123456789012",
    "findingArn": FINDING["findingArn"],
    "firstObservedAt": "Dec 3, 2021, 6:02:30 PM",
    "lastObservedAt": "Dec 3, 2021, 4:02:30 AM",
    "packageVulnerabilityDetails": {
        "cvss": FINDING["packageVulnerabilityDetails"]["cvss"],
        "referenceUrls": ["https://access.redhat.com/errata/RHSA-2020:3915"],
        "relatedVulnerabilities": [],
        "source": "REDHAT_CVE",
        "vendorCreatedAt": "Oct 16, 2019, 12:00:00 AM",
        "vendorSeverity": "Moderate",
        "vulnerabilityId": "CVE-2019-17498",
        "vulnerablePackages": [
            {
                "arch": "X86_64",
                "epoch": 0,
                "fixedInVersion": "NotAvailable",
                "name": "libssh2",
                "packageManager": "OS",
                "release": "12.amzn2.2",
                "sourceLayerHash": DIGEST,
                "version": "1.4.3",
            }
        ],
    },
    "remediation": {"recommendation": {"text": "None Provided"}},
    "resources": [
        {
            "id": f"{ARN}/{DIGEST}",
            "type": "AWS_ECR_CONTAINER_IMAGE",
            "tags": {},
            "partition": "aws",
            "region": "us-west-2",
            "details": {
                "awsEcrContainerImage": {
                    "imageHash": DIGEST,
                    "imageTags": ["latest"],
                    "platform": "AMAZON_LINUX_2",
                    "pushedAt": "Dec 4, 2021, 12:00:00 AM",
                    "registry": "123456789012",
                    "repositoryName": "app",
                }
            },
        }
    ],
    "inspectorScore": 6.5,
    "inspectorScoreDetails": {
        "adjustedCvss": {
            "adjustments": [],
            "cvssSource": "REDHAT_CVE",
            "score": 6.5,
            "scoreSource": "REDHAT_CVE",
            "scoringVector": "CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:U/C:H/I:N/A:N",
            "version": "3.0",
        }
    },
    "severity": "MEDIUM",
    "status": "ACTIVE",
    "title": "CVE-2019-17498 - libssh2",
    "type": "PACKAGE_VULNERABILITY",
    "updatedAt": "Dec 3, 2021, 12:00:00 PM",
    "fixAvailable": "NO",
    "exploitAvailable": "NO",
}
UNSCORED = {"score": None, "scoreDetails": None}

EVENTS = {
    "a push": (
        builders.image_action(PLACE, IMAGE, "PUSH", "latest"),
        ("ECR Image Action", []),
        {**ACTION, **TYPED, "action-type": "PUSH", "image-tag": "latest"},
    ),
    "a push of an index without a tag": (
        builders.image_action(PLACE, INDEX, "PUSH", None),
        ("ECR Image Action", []),
        {**ACTION, "manifest-media-type": INDEX.media_type, "action-type": "PUSH", "image-tag": ""},
    ),
    "a deletion": (
        builders.image_action(PLACE, IMAGE, "DELETE", "latest"),
        ("ECR Image Action", []),
        {**ACTION, **TYPED, "action-type": "DELETE", "image-tag": "latest"},
    ),
    "a push of a referrer": (
        builders.image_action(PLACE, SBOM, "PUSH", None),
        ("ECR Referrer Action", []),
        {**ACTION, **TYPED, "artifact-media-type": "text/sbom+json", "action-type": "PUSH", "image-tag": ""},
    ),
    "an archival": (
        builders.storage_class_action(PLACE, IMAGE, "ARCHIVE"),
        ("ECR Image Action", []),
        {**ACTION, **TYPED, "action-type": "UPDATE_STORAGE_CLASS", "target-storage-class": "ARCHIVE"},
    ),
    "a restoration of a referrer": (
        builders.storage_class_action(PLACE, SBOM, "STANDARD", RESTORED_AT),
        ("ECR Referrer Action", []),
        {
            **ACTION,
            **TYPED,
            "artifact-media-type": "text/sbom+json",
            "action-type": "UPDATE_STORAGE_CLASS",
            "target-storage-class": "STANDARD",
            "last-activated-at": "2025-10-10T19:13:02.740Z",
        },
    ),
    "a scan": (
        builders.image_scan(PLACE, DIGEST, ["v1"], "COMPLETE", {"CRITICAL": 10, "MEDIUM": 9}),
        ("ECR Image Scan", [ARN]),
        {
            "scan-status": "COMPLETE",
            "repository-name": "app",
            "finding-severity-counts": {"CRITICAL": 10, "MEDIUM": 9},
            "image-digest": DIGEST,
            "image-tags": ["v1"],
        },
    ),
    "changes of scan frequencies": (
        builders.scan_resource_change(
            PLACE.account,
            PLACE.region,
            PLACE.time,
            [
                FrequencyChange("app", ARN, "SCAN_ON_PUSH", "MANUAL"),
                FrequencyChange("web", f"{ARN}/web", "CONTINUOUS_SCAN", "SCAN_ON_PUSH"),
            ],
        ),
        ("ECR Scan Resource Change", []),
        {
            "action-type": "SCAN_FREQUENCY_CHANGE",
            "repositories": [
                {
                    "repository-name": "app",
                    "repository-arn": ARN,
                    "scan-frequency": "SCAN_ON_PUSH",
                    "previous-scan-frequency": "MANUAL",
                },
                {
                    "repository-name": "web",
                    "repository-arn": f"{ARN}/web",
                    "scan-frequency": "CONTINUOUS_SCAN",
                    "previous-scan-frequency": "SCAN_ON_PUSH",
                },
            ],
            "resource-type": "REPOSITORY",
            "scan-type": "ENHANCED",
        },
    ),
    "an enhanced scan": (
        builders.inspector_scan(PLACE, DIGEST, ["latest"], {"CRITICAL": 7, "HIGH": 61, "MEDIUM": 62}),
        ("Inspector2 Scan", [ARN]),
        {
            "scan-status": "INITIAL_SCAN_COMPLETE",
            "repository-name": ARN,
            "finding-severity-counts": {"CRITICAL": 7, "HIGH": 61, "MEDIUM": 62, "TOTAL": 130},
            "image-digest": DIGEST,
            "image-tags": ["latest"],
        },
    ),
    "a finding": (
        builders.inspector_finding(PLACE, FINDING),
        ("Inspector2 Finding", [f"{ARN}/{DIGEST}"]),
        FOUND,
    ),
    "a finding without a score": (
        builders.inspector_finding(PLACE, FINDING | UNSCORED),
        ("Inspector2 Finding", [f"{ARN}/{DIGEST}"]),
        {key: value for key, value in FOUND.items() if not key.startswith("inspector")},
    ),
    "a replication": (
        builders.replication_action(PLACE, DIGEST, "3.17.2", "111111111111", "eu-west-1", success=True),
        ("ECR Replication Action", [ARN]),
        {
            **ACTION,
            "source-account": "111111111111",
            "action-type": "REPLICATE",
            "source-region": "eu-west-1",
            "image-tag": "3.17.2",
        },
    ),
    "a replication that failed": (
        builders.replication_action(PLACE, DIGEST, None, "111111111111", "eu-west-1", success=False),
        ("ECR Replication Action", [ARN]),
        {
            **ACTION,
            "result": "FAILED",
            "source-account": "111111111111",
            "action-type": "REPLICATE",
            "source-region": "eu-west-1",
            "image-tag": "",
        },
    ),
    "a pull through": (
        builders.pull_through_cache_action(PLACE, "hub", "quay.io", tag="3.17.2", digest=DIGEST),
        ("ECR Pull Through Cache Action", [ARN]),
        {
            "rule-version": "1",
            "sync-status": "SUCCESS",
            "ecr-repository-prefix": "hub",
            "repository-name": "app",
            "upstream-registry-url": "quay.io",
            "image-tag": "3.17.2",
            "image-digest": DIGEST,
        },
    ),
    "a pull through that failed": (
        builders.pull_through_cache_action(
            PLACE, "hub", "quay.io", tag="v1", digest=None, failure=("UpstreamUnavailable", "It is away")
        ),
        ("ECR Pull Through Cache Action", [ARN]),
        {
            "rule-version": "1",
            "sync-status": "FAILED",
            "ecr-repository-prefix": "hub",
            "repository-name": "app",
            "upstream-registry-url": "quay.io",
            "image-tag": "v1",
            "failure-code": "UpstreamUnavailable",
            "failure-reason": "It is away",
        },
    ),
}


@pytest.mark.parametrize(("event", "envelope", "detail"), EVENTS.values(), ids=EVENTS)
def test_an_event_is_that_of_the_user_guide(event, envelope, detail):
    check_event(event)
    detail_type, resources = envelope
    assert event == {
        "version": "0",
        "id": event["id"],
        "detail-type": detail_type,
        "source": "aws.inspector2" if detail_type.startswith("Inspector2") else "aws.ecr",
        "account": "123456789012",
        "time": "2019-11-16T01:54:34Z",
        "region": "us-west-2",
        "resources": resources,
        "detail": detail,
    }


def test_the_schema_takes_no_other_events():
    pushed = EVENTS["a push"][0]
    for wrong in (
        {**pushed, "more": 1},
        {**pushed, "resources": [ARN]},
        {**pushed, "detail-type": "ECR Image Scan"},
        {**pushed, "source": "aws.inspector2"},
        {**pushed, "detail": {**pushed["detail"], "action-type": "PULL"}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check_event(wrong)


@pytest.mark.parametrize(
    ("arn", "identity"),
    [
        ("", {"type": "Unknown"}),
        (
            "arn:aws:iam::123456789012:root",
            {"type": "Root", "principalId": "123456789012", "accountId": "123456789012"},
        ),
        (
            "arn:aws:iam::123456789012:user/team/Mary_Major",
            {"type": "IAMUser", "userName": "Mary_Major", "accountId": "123456789012"},
        ),
        (
            "arn:aws-cn:sts::123456789012:assumed-role/Admin/mary",
            {
                "type": "AssumedRole",
                "accountId": "123456789012",
                "sessionContext": {
                    "sessionIssuer": {
                        "type": "Role",
                        "arn": "arn:aws-cn:iam::123456789012:role/Admin",
                        "accountId": "123456789012",
                        "userName": "Admin",
                    }
                },
            },
        ),
        ("arn:aws:iam::123456789012:role/path/ci", {"type": "Role", "accountId": "123456789012"}),
        (
            "arn:aws:sts::123456789012:federated-user/bob",
            {"type": "FederatedUser", "accountId": "123456789012"},
        ),
        ("arn:aws:iam::123456789012:group/x", {"type": "Unknown", "accountId": "123456789012"}),
    ],
)
def test_a_caller_is_shown_by_its_kind(arn, identity):
    assert audit.user_identity(arn) == identity | ({"arn": arn} if arn else {})


@pytest.mark.parametrize(
    ("operation", "read_only"),
    [
        ("GetAuthorizationToken", True),
        ("BatchGetImage", True),
        ("BatchCheckLayerAvailability", True),
        ("DescribeRepositories", True),
        ("ListImages", True),
        ("ValidatePullThroughCacheRule", True),
        ("BatchDeleteImage", False),
        ("PutImage", False),
        ("StartImageScan", False),
    ],
)
def test_what_changes_nothing_is_read_only(operation, read_only):
    assert audit.is_read_only(operation) is read_only


def test_bytes_and_long_texts_are_left_out():
    long = "x" * (audit.LONGEST_TEXT + 1)
    shown = audit.presentable(
        {"layerPartBlob": b"secret", "partFirstByte": 0, "image": {"imageManifest": long, "tag": long[1:]}}
    )
    assert shown == {"partFirstByte": 0, "image": {"tag": long[1:]}}


def test_a_record_has_the_members_of_cloudtrail():
    action = Action(
        operation="PutImage",
        account="123456789012",
        region="us-east-2",
        caller_arn="arn:aws:iam::123456789012:user/Mary_Major",
        time=1555346700.9,
        request_id="cf044b7d-5f9d-11e9-9b2a-95983139cc57",
        source_ip="203.0.113.12",
        user_agent="docker/27",
        resources=(ARN,),
        request={"repositoryName": "app"},
        error=("LayersNotFoundException", "Layers are missing"),
    )
    record = action.record()
    check_record(record)
    assert record["eventTime"] == "2019-04-15T16:45:00Z"
    assert record["userIdentity"]["userName"] == "Mary_Major"
    assert record["resources"] == [{"accountId": "123456789012", "type": "AWS::ECR::Repository", "ARN": ARN}]
    assert record["errorCode"] == "LayersNotFoundException"
    assert (record["responseElements"], record["readOnly"]) == (None, False)


def test_what_a_lifecycle_policy_did_is_recorded_as_by_cloudtrail():
    selection = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 2}
    execution = PolicyExecution(
        account="123456789012",
        region="us-west-2",
        time=1584044532.0,
        repository="app",
        resource=ARN,
        rules=[
            {
                "rulePriority": 1,
                "description": "remove all images > 2",
                "selection": selection,
                "action": {"type": "expire"},
            }
        ],
        images=(
            ExpiredImage(DIGEST, tuple(f"v{number}" for number in range(101)), 1584042813.0, 1),
            ExpiredImage(DIGEST, (), 1584042842.0, None),
        ),
    )
    record = execution.record()
    check_record(record)
    assert record == execution.record()
    details = record["serviceEventDetails"]
    assert details["lifecycleEventPolicy"]["lifecycleEventRules"] == [
        {
            "rulePriority": 1,
            "description": "remove all images > 2",
            "lifecycleEventSelection": {
                "tagStatus": "Any",
                "countType": "Image count more than",
                "countNumber": 2,
            },
            "action": "expire",
        }
    ]
    tagged, untagged = details["lifecycleEventImageActions"]
    assert len(tagged["lifecycleEventImage"].pop("tagList")) == 100
    assert tagged == {
        "lifecycleEventImage": {"digest": DIGEST, "tagStatus": "Tagged", "pushedAt": 1584042813000},
        "rulePriority": 1,
    }
    assert untagged["lifecycleEventImage"]["tagStatus"] == "Untagged"
    assert "rulePriority" not in untagged
