# The server's image; docs/deploy.md says how it is built, run and pushed. Stages:
#
#   build ──> server ──> with-model      a server for models that are mounted or pulled; the same with one baked in
#
#   docker build .                                            the server
#   docker build --target with-model --build-arg MODEL=… .    with the bundle in that folder (build/bundle, which `dvc repro` makes)
#
# The base is named by tag for people and by digest for machines. The same Python as the tests run on: 3.11. Another: --build-arg PYTHON_IMAGE=…
ARG PYTHON_IMAGE=docker.io/library/python:3.11.17-slim-trixie@sha256:45037981b62b34b44602584fccbc4d884d5f7dc92c7ee86bb38a698a79fe1e51

FROM ${PYTHON_IMAGE} AS build
# requirements/serve.txt, or requirements/cloud.txt: with buckets, JSON Web Tokens and signatures.
ARG LOCK=serve
ARG SOURCE_DATE_EPOCH=0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
# What changes seldom comes first. Only wheels, and only those whose hashes are locked: nothing is compiled, nobody can slip one in.
COPY requirements/ requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/orris \
    && python -m pip --python /opt/orris/bin/python install --require-hashes --only-binary=:all: --no-compile -r "requirements/${LOCK}.txt" \
    && python -m pip install --require-hashes --only-binary=:all: -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src/ src/
# Orris as a wheel; byte code that is never compared with a timestamp; then one time for every file, so that equal sources give equal layers.
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /opt/orris/bin/python install --no-deps --no-index --no-compile dist/orris-*.whl \
    && /opt/orris/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/orris/lib \
    && find /opt/orris -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM ${PYTHON_IMAGE} AS server
ARG PYTHON_IMAGE
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=https://github.com/orris-ml/orris
# A server installs nothing: no pip. The user has a number, which Kubernetes can check (runAsNonRoot), and a name, for programs that ask.
RUN PIP_ROOT_USER_ACTION=ignore python -m pip uninstall --quiet --yes setuptools wheel pip \
    && rm -rf "$(python -c 'import ensurepip; print(ensurepip.__path__[0])')" \
    && printf 'orris:x:10001:10001:Orris:/tmp:/usr/sbin/nologin\n' >> /etc/passwd \
    && printf 'orris:x:10001:\n' >> /etc/group \
    && install --directory --owner=10001 --group=10001 --mode=0755 /models
COPY --from=build /opt/orris /opt/orris
# HOME is where a bucket's bundles are cached: /tmp, the one place that has to be writable if the root is read-only and a store is remote.
ENV PATH=/opt/orris/bin:${PATH} HOME=/tmp PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1 ORRIS_HOST=0.0.0.0 ORRIS_STORE=/models
LABEL org.opencontainers.image.title="Orris" \
      org.opencontainers.image.description="A server for models that are proven to answer as they were trained" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
WORKDIR /models
USER 10001:10001
EXPOSE 8000 8001
# Kubernetes has probes of its own and ignores this; it finds the port by ORRIS_PORT, as the server does.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["orris", "ping"]
ENTRYPOINT ["orris"]
CMD ["serve"]

FROM server AS with-model
ARG MODEL=build/bundle
# The digest that `orris models show` prints; if it is given, another model does not get into the image.
ARG MODEL_DIGEST=
COPY ${MODEL} /opt/model/
# Every file against the manifest, and the golden rows against the model: on each architecture that is built.
RUN orris models verify /opt/model ${MODEL_DIGEST:+--digest "${MODEL_DIGEST}"}
ENV ORRIS_MODEL=/opt/model
LABEL ml.orris.model.digest="${MODEL_DIGEST}"

# The last stage is what is built when none is named.
FROM server AS default
