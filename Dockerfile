# The emulator as an image, for one server and for many: docs/containers.md.
#
# BASE has Python 3.11 or newer with venv: an official image of Python, or Debian with python3-venv.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
# Two environments: one that builds, and one without pip that is what the image gets.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/ecr-emulator
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_REQUIRE_HASHES=1
WORKDIR /src
COPY requirements-build.lock requirements-image.lock ./
# Both secrets may be missing. They are for an index of packages that is not PyPI, and for a CA that signs for it.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-certificates,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/build/bin/pip install -r requirements-build.lock && \
    /opt/build/bin/pip --python /opt/ecr-emulator/bin/python install -r requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY ecr_emulator ecr_emulator
ENV PIP_REQUIRE_HASHES=0 PIP_NO_INDEX=1 PIP_NO_DEPS=1
RUN /opt/build/bin/pip wheel --no-build-isolation --wheel-dir dist . && \
    /opt/build/bin/pip --python /opt/ecr-emulator/bin/python install dist/*.whl

FROM ${BASE}
# A number, by which Kubernetes knows that it is not root.
ARG UID=10001
RUN groupadd --gid ${UID} ecr && \
    useradd --uid ${UID} --gid ${UID} --home-dir /data --no-create-home --shell /usr/sbin/nologin ecr && \
    install --directory --owner ${UID} --group ${UID} --mode 0700 /data
COPY --from=build /opt/ecr-emulator /opt/ecr-emulator
COPY containers/healthcheck.py /opt/ecr-emulator/
ENV PATH=/opt/ecr-emulator/bin:$PATH \
    ECR_EMULATOR_HOST=0.0.0.0 \
    ECR_EMULATOR_DATA_DIR=/data
USER ${UID}:${UID}
VOLUME /data
EXPOSE 4510
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["python3", "/opt/ecr-emulator/healthcheck.py"]
# The server is process 1, which SIGTERM tells to finish the requests at hand.
ENTRYPOINT ["ecr-emulator"]
CMD ["serve"]
