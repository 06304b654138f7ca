"""Pull time exclusions: which callers a principal's ARN stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_emulator.core.pull_time_exclusions import covers

ROLE = "arn:aws:iam::111122223333:role/scanner"
USER = "arn:aws:iam::111122223333:user/scanner"
SESSION = "arn:aws:sts::111122223333:assumed-role/scanner/nightly"
NAMES = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-", min_size=1, max_size=20
)


@pytest.mark.parametrize(
    ("principal", "caller"),
    [
        (USER, USER),
        (ROLE, ROLE),
        (ROLE, SESSION),
        ("arn:aws:iam::111122223333:role/service-role/a/scanner", SESSION),
        ("arn:aws-cn:iam::111122223333:role/scanner", SESSION.replace("aws:", "aws-cn:")),
    ],
)
def test_a_principal_is_itself_and_a_role_its_sessions(principal, caller):
    assert covers(principal, caller)


@pytest.mark.parametrize(
    ("principal", "caller"),
    [
        (USER, SESSION),
        (USER, ROLE),
        (USER, "arn:aws:iam::111122223333:user/scanners"),
        (USER, "arn:aws:iam::111122223333:user/path/scanner"),
        (ROLE, "arn:aws:iam::111122223333:root"),
        (ROLE, "arn:aws:sts::111122223333:assumed-role/scanner2/nightly"),
        (ROLE, "arn:aws:sts::111122223333:assumed-role/other/scanner"),
        (ROLE, "arn:aws:sts::444455556666:assumed-role/scanner/nightly"),
        (ROLE, "arn:aws-cn:sts::111122223333:assumed-role/scanner/nightly"),
        (ROLE, "arn:aws:sts::111122223333:federated-user/scanner"),
        ("arn:aws:iam::111122223333:role/scanner/other", SESSION),
    ],
)
def test_a_principal_is_nobody_else(principal, caller):
    assert not covers(principal, caller)


@given(path=st.lists(NAMES, max_size=3), role=NAMES, other=NAMES, session=NAMES)
def test_a_session_is_covered_by_its_role_wherever_that_has_its_path(path, role, other, session):
    principal = f"arn:aws:iam::111122223333:role/{'/'.join([*path, role])}"
    assert covers(principal, f"arn:aws:sts::111122223333:assumed-role/{role}/{session}")
    caller = f"arn:aws:sts::111122223333:assumed-role/{other}/{session}"
    assert covers(principal, caller) == (other == role)
