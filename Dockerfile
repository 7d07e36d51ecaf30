# A tag by default; give a digest for a build that never changes: --build-arg PYTHON_IMAGE=python@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG VERSION=0.1.0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/spatial

# Wheels alone: psycopg2-binary, shapely and grpcio bring their libraries, so nothing is compiled or installed by apt.
COPY requirements.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/spatial/bin/python install --require-hashes --only-binary=:all: --no-compile \
        --report /build/installed.json -r requirements.lock

# pip refuses hashes from a constraints file, so the build backend's pins are cut out of the development lock.
COPY requirements-dev.lock ./
RUN awk '/^[a-z]/ { keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } keep' \
        requirements-dev.lock > requirements-build.lock \
    && pip install --require-hashes --only-binary=:all: --no-cache-dir -r requirements-build.lock

# Compiled here because the running container can write no bytecode, and without time stamps, which copies may change.
COPY . .
RUN pip wheel --no-deps --no-build-isolation --no-cache-dir --wheel-dir /wheels . \
    && pip --python /opt/spatial/bin/python install --no-deps --no-index --no-cache-dir --no-compile /wheels/*.whl \
    && /opt/spatial/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/spatial/lib

# What is in the image, as CycloneDX: the wheels with their hashes, and the base's packages, which both stages share.
RUN python scripts/sbom "${VERSION}" /opt/spatial/lib/python3.11/site-packages installed.json /var/lib/dpkg/status \
        > /opt/spatial/sbom.json


FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="spatial-service" \
      org.opencontainers.image.description="A gRPC spatial microservice over PostGIS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# libpq asks for the name of the user that it runs as.
RUN groupadd --gid 10001 spatial \
    && useradd --uid 10001 --gid 10001 --no-create-home --no-log-init --shell /usr/sbin/nologin spatial
COPY --from=build /opt/spatial /opt/spatial

ENV PATH=/opt/spatial/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SPATIAL_LISTEN=0.0.0.0:50051 \
    SPATIAL_METRICS_LISTEN=0.0.0.0:9464

# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["spatial", "health"]
ENTRYPOINT ["spatial"]
CMD ["serve"]
