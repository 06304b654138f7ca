"""Whether the server in this container is ready: exits with 0 if so, else with a message."""

import os
import ssl
import sys
import urllib.request

tls = os.environ.get("ECR_EMULATOR_TLS", "off") == "on"
port = os.environ.get("ECR_EMULATOR_PORT", "4510")
# This is the container's own address: whose certificate it shows is of no interest.
handlers = [
    urllib.request.ProxyHandler({}),
    urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),  # noqa: S323
]
url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/_emulator/ready"
try:
    urllib.request.build_opener(*handlers).open(url, timeout=4).close()
except OSError as error:
    sys.exit(f"{url}: {error}")
