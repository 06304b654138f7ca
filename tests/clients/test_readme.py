"""The tour of the README, run as it stands there but for the port."""

import re
import sys
from pathlib import Path

from tests.clients.conftest import Client, find_tool
from tests.serving import ROOT


def tour() -> str:
    """The script of the README's tour: its one block of shell."""
    [script] = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return script


def test_the_tour_works_when_it_is_pasted(server, docker, tmp_path):
    (tmp_path / "README.md").write_bytes((ROOT / "README.md").read_bytes())
    find_tool("aws")
    host = docker.command[docker.command.index("--host") + 1]
    path = f"{Path(docker.command[0]).parent}:{Path(sys.executable).parent}:{docker.env['PATH']}"
    bash = Client("bash", home=tmp_path, env={"DOCKER_HOST": host, "PATH": path, "AWS_PAGER": ""})
    script = tour()
    assert "127.0.0.1:4510" in script
    said = bash.run("-euxo", "pipefail", "-c", script.replace("127.0.0.1:4510", server.registry))
    assert "Login Succeeded" in said
    assert '"imageTags": [\n                "v1"\n            ]' in said
    assert '"failures": []' in said
