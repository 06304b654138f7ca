"""Signatures: what botocore signs is taken, and nothing that was changed, is old or is incomplete."""

import hashlib
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from ecr_emulator.core import errors
from ecr_emulator.core.identities import AccessKey
from ecr_emulator.identity.sigv4 import Request, Signature, verify

ARN = "arn:aws:iam::111122223333:user/alice"
KEYS = {
    "AKIAALICE": AccessKey(ARN, "secret"),
    "ASIASESSION": AccessKey(ARN, "secret", "token"),
    "AKIANOSECRET": AccessKey(ARN),
}
TARGET = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories"
NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
BODY = b'{"repositoryNames": ["app"]}'
INVALID_TOKEN = "The security token included in the request is invalid."


def signed(
    key="AKIAALICE", secret="secret", token=None, service="ecr", region="eu-west-1", at=NOW, path="/", **more
):
    """Return a request as botocore signs it."""
    headers = {
        "Host": "127.0.0.1:4510",
        "X-Amz-Target": TARGET,
        "Content-Type": "application/x-amz-json-1.1",
        **more,
    }
    request = AWSRequest("POST", f"http://127.0.0.1:4510{path}", headers, BODY)
    with mock.patch("botocore.auth.get_current_datetime", return_value=at.replace(tzinfo=None)):
        SigV4Auth(Credentials(key, secret, token), service, region).add_auth(request)
    return Request("ecr", "POST", path, CIMultiDictProxy(CIMultiDict(request.headers.items())), BODY)


def changed(request, *, body=None, method="POST", path="/", without=(), **headers):
    """Return a request with something else in it."""
    changed_headers = CIMultiDict(request.headers)
    for name in without:
        del changed_headers[name]
    changed_headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    content = request.body if body is None else body
    return Request("ecr", method, path, CIMultiDictProxy(changed_headers), content)


def check(request, now=NOW):
    return verify(request, KEYS, now.timestamp())


def refusal(request, now=NOW):
    with pytest.raises(errors.EcrError) as raised:
        check(request, now)
    return raised.value.code, raised.value.message


MISMATCH = "InvalidSignatureException"


@pytest.mark.parametrize(
    "request_",
    [
        signed(),
        signed("ASIASESSION", token="token"),
        signed(path="/?a=1&b=%20x"),
        signed(Date="Thu, 31 Jan 2030 12:00:00 GMT"),
        signed(**{"X-Amz-Content-SHA256": hashlib.sha256(BODY).hexdigest()}),
        signed(**{"X-Custom": "  many   spaces "}),
    ],
    ids=["key", "session", "query", "Date", "content hash", "spaces"],
)
def test_what_botocore_signs_is_taken(request_):
    assert check(request_).region == "eu-west-1"


def test_a_signature_names_key_and_region():
    assert check(signed("ASIASESSION", token="token", region="us-east-2")) == Signature(
        "ASIASESSION", "us-east-2"
    )


@pytest.mark.parametrize(
    "request_",
    [
        signed(secret="other"),
        changed(signed(), body=b"{}"),
        changed(signed(), X_Amz_Target="AmazonEC2ContainerRegistry_V20150921.DeleteRepository"),
        changed(signed(), Host="elsewhere"),
        changed(signed(), Content_Type="text/plain"),
        changed(signed(), path="/?x=1"),
        changed(signed(), method="GET"),
        changed(signed(), X_Amz_Date="20300131T120001Z"),
        changed(signed(), without=["Content-Type"]),
        changed(signed(**{"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}), body=b"{}"),
        signed(**{"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}),
        signed("AKIANOSECRET", ""),
        changed(signed(), Content_Type="\udcff"),
    ],
)
def test_another_request_than_was_signed_is_refused(request_):
    code, message = refusal(request_)
    assert code == MISMATCH
    assert message.startswith(
        "The request signature we calculated does not match the signature you provided."
    )


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_no_other_signature_is_taken(position, digit):
    request = signed()
    authorization = request.headers["Authorization"]
    head, signature = authorization[:-64], authorization[-64:]
    other = signature[:position] + digit + signature[position + 1 :]
    if other == signature:
        assert check(request)
    else:
        assert refusal(changed(request, Authorization=head + other))[0] == MISMATCH


@pytest.mark.parametrize(
    "request_",
    [
        signed("AKIASTRANGER"),
        signed("111122223333"),
        signed("ASIASESSION"),
        signed("ASIASESSION", token="other"),
        signed("AKIAALICE", token="token"),
    ],
)
def test_whom_nobody_knows_is_refused(request_):
    assert refusal(request_) == ("UnrecognizedClientException", INVALID_TOKEN)


def test_a_signature_is_good_for_a_quarter_of_an_hour_either_way():
    for minutes in (-15, 15):
        assert check(signed(), NOW + timedelta(minutes=minutes))
    late, early = NOW + timedelta(minutes=15, seconds=1), NOW - timedelta(minutes=15, seconds=1)
    assert refusal(signed(), late) == (
        "InvalidSignatureException",
        "Signature expired: 20300131T120000Z is now earlier than 20300131T120001Z "
        "(20300131T121501Z - 15 min.)",
    )
    assert refusal(signed(), early) == (
        "InvalidSignatureException",
        "Signature not yet current: 20300131T120000Z is still later than 20300131T115959Z "
        "(20300131T114459Z + 15 min.)",
    )


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (signed(service="ecs"), "Credential should be scoped to correct service: 'ecr'. "),
        (signed(region="EU"), "Credential should be scoped to a valid region, not 'EU'. "),
        (
            signed(Host="api.ecr.us-east-1.amazonaws.com"),
            "Credential should be scoped to a valid region, not 'eu-west-1'. ",
        ),
    ],
)
def test_a_scope_of_another_service_or_region_is_refused(request_, message):
    assert refusal(request_) == ("InvalidSignatureException", message)


def test_the_scope_has_the_day_of_the_signature():
    code, message = refusal(changed(signed(), X_Amz_Date="20300201T000000Z"))
    assert (code, message.partition(":")[0]) == (
        "InvalidSignatureException",
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP",
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [("host", "'Host' or ':authority'"), ("x-amz-target", "'x-amz-target'"), ("x-amz-date", "'x-amz-date'")],
)
def test_what_says_what_to_do_has_to_be_signed(name, shown):
    request = signed()
    authorization = request.headers["Authorization"]
    for form in (f"{name};", f";{name}"):
        authorization = authorization.replace(form, "", 1)
    assert refusal(changed(request, Authorization=authorization)) == (
        "InvalidSignatureException",
        f"{shown} must be a 'SignedHeader' in the AWS Authorization.",
    )


def test_a_request_without_a_signature_is_told_so():
    assert refusal(changed(signed(), without=["Authorization"])) == (
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    )


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("Basic QVdTOng", "Invalid key=value pair (missing equal-sign) in Authorization header"),
        ("AWS4-HMAC-SHA256", "Invalid key=value pair (missing equal-sign) in Authorization header"),
        (
            "AWS4-HMAC-SHA256 Credential=AKIAALICE/20300131/eu-west-1/ecr/aws4_request",
            "Authorization header requires 'Signature' parameter. "
            "Authorization header requires 'SignedHeaders' parameter. (Hashed",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, Credential=a/b/c/d/e, SignedHeaders=host, Signature=0",
            "Invalid key=value pair",
        ),
        (
            "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=0",
            "Authorization header requires the algorithm 'AWS4-HMAC-SHA256'.",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=AKIAALICE, SignedHeaders=host, Signature=0",
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            "got 'AKIAALICE'",
        ),
    ],
)
def test_a_header_that_cannot_be_read_is_told_so(authorization, message):
    code, told = refusal(changed(signed(), Authorization=authorization))
    assert code == "IncompleteSignatureException"
    assert told.startswith(message)
    assert "QVdTOng" not in told


@pytest.mark.parametrize("date", [{}, {"X_Amz_Date": "now"}, {"Date": "yesterday"}])
def test_a_signature_needs_a_time(date):
    code, message = refusal(changed(signed(), without=["X-Amz-Date"], **date))
    assert code == "IncompleteSignatureException"
    assert "requires existence of either a 'X-Amz-Date' or a 'Date' header." in message
