# syntax=docker/dockerfile:1
# logproc, with what it needs for Elasticsearch: no root, nothing to write to but its state and the log's folder.
# Build: docker build --tag logproc .

# The Python and the system that the tests run on.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
# First what changes seldom: the dependencies, asked for by an empty package of the same name.
COPY pyproject.toml README.md LICENSE ./
RUN mkdir logproc serve && touch logproc/__init__.py serve/__init__.py
RUN python -m venv /opt/logproc && /opt/logproc/bin/pip install --no-cache-dir '.[elasticsearch]'
COPY serve serve
COPY logproc logproc
RUN /opt/logproc/bin/pip install --no-cache-dir --no-deps --force-reinstall .

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 logproc \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --shell /usr/sbin/nologin logproc \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/logproc /var/log/vllm
COPY --from=build /opt/logproc /opt/logproc
ENV PATH=/opt/logproc/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/logproc
EXPOSE 9470
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9470/healthz', timeout=4)"]
ENTRYPOINT ["logproc"]
CMD ["run", "/etc/logproc/logproc.yaml"]
