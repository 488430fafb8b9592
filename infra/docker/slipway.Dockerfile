# Everything of ours, Prefect's and MLflow's servers, and Ray, with the versions that the tests ran with (constraints.txt).
# Build it from the top of the repository: docker build -f infra/docker/slipway.Dockerfile -t slipway:0.1.0 .
# TORCH_BACKEND names torch's build: cpu, or CUDA's version, such as cu130.
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ARG TORCH_BACKEND=cpu
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
ENV VIRTUAL_ENV=/opt/slipway/venv UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_HTTP_TIMEOUT=300
RUN uv venv --python /usr/local/bin/python3.11 "$VIRTUAL_ENV"
# What changes seldom first: a change of the code alone installs a wheel of a few hundred kilobytes.
COPY pyproject.toml constraints.txt ./
RUN uv pip install --constraint constraints.txt --torch-backend "$TORCH_BACKEND" --requirements pyproject.toml --extra cluster
COPY README.md LICENSE ./
COPY llm llm
COPY infra infra
COPY flows flows
COPY dashboards dashboards
RUN uv build --wheel --out-dir /tmp/wheel && uv pip install --no-deps /tmp/wheel/*.whl

FROM python:${PYTHON}
# g++: decoding and torch.compile build what they run for the processor they find.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home slipway \
    && install --directory --owner slipway --group slipway /home/slipway/.slipway /home/slipway/.slipway/cache /home/slipway/data
COPY --from=build /opt/slipway/venv /opt/slipway/venv
COPY infra/docker/worker.sh /opt/slipway/worker.sh
ENV PATH=/opt/slipway/venv/bin:$PATH PYTHONUNBUFFERED=1 SLIPWAY_HOME=/home/slipway/.slipway
USER slipway
WORKDIR /home/slipway
CMD ["slipway", "--help"]
