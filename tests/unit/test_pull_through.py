"""Pull-through cache rules: kinds of upstream registries, and the names that repositories have there."""

import pytest

from ecr_emulator.core.prefixes import ROOT
from ecr_emulator.core.pull_through import ecr_registry, kind_of, upstream_name
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.pull_through import PullThroughRule


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("public.ecr.aws", "ecr-public"),
        ("registry-1.docker.io", "docker-hub"),
        ("my-shop.azurecr.io", "azure-container-registry"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ecr"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "ecr"),
        ("azurecr.io", None),
        ("a.b.azurecr.io", None),
        ("12345.dkr.ecr.eu-west-1.amazonaws.com", None),
        ("docker.io", None),
        ("quay.io/", None),
        ("", None),
    ],
)
def test_an_upstream_is_of_a_kind_that_ecr_knows(host, kind):
    assert kind_of(host) == kind


def test_a_private_registry_is_named_by_its_host():
    assert ecr_registry("123456789012.dkr.ecr.eu-west-1.amazonaws.com") == Registry(
        "123456789012", "eu-west-1"
    )
    assert ecr_registry("quay.io") is None


# The table of the user guide's "Customizing repository prefixes for ECR to ECR pull through cache".
@pytest.mark.parametrize(
    ("prefix", "upstream_prefix", "name", "upstream"),
    [
        ("ecr-public", ROOT, "ecr-public/my-app/image1", "my-app/image1"),
        (ROOT, ROOT, "my-app/image1", "my-app/image1"),
        ("team-a", "team-a", "team-a/myapp/image1", "team-a/myapp/image1"),
        ("my-app", "upstream-app", "my-app/image1", "upstream-app/image1"),
    ],
)
def test_a_name_is_mapped_to_the_upstreams(prefix, upstream_prefix, name, upstream):
    rule = PullThroughRule(prefix, "quay.io", "quay", upstream_prefix, None, None, 0.0, 0.0)
    assert upstream_name(rule, name) == upstream
