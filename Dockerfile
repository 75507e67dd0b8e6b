# Two images: `board` runs files (docker build --target board .), `ci` checks and compares them, on an emulated board too.
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY edgecnn edgecnn
COPY cores cores
COPY devices devices
COPY export export
COPY benchmarks/suites benchmarks/suites
COPY benchmarks/tables/architecture-study/published benchmarks/tables/architecture-study/published
COPY studies studies
RUN python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm AS board
COPY constraints.txt /tmp/constraints.txt
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    python3 -m pip install --no-cache-dir -c /tmp/constraints.txt "$(echo /wheels/edgecnn-*.whl)[litert,onnx]"
USER 65534
ENV HOME=/tmp
ENTRYPOINT ["edgecnn"]

FROM python:3.11-slim-bookworm AS ci
COPY constraints.txt /tmp/constraints.txt
# What an emulated board is built from and run by. Debian's versions move within the release; pinning them breaks builds.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        cpio e2fsprogs mmdebstrap openssh-client qemu-system-arm \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    python3 -m pip install --no-cache-dir -c /tmp/constraints.txt "$(echo /wheels/edgecnn-*.whl)[litert,onnx]"
ENTRYPOINT ["edgecnn"]
