# syntax=docker/dockerfile:1
# One image for every part: `serve`, `worker`, `db upgrade`, … are commands of one program.

FROM python:3.12-slim AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/newsletter
# The locked packages are a layer of their own, which a change of the code leaves alone.
COPY requirements.lock ./
RUN /opt/newsletter/bin/pip install --require-hashes --requirement requirements.lock
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY prompts prompts
COPY email_templates email_templates
COPY workers workers
COPY newsletter newsletter
RUN /opt/newsletter/bin/pip install --no-deps --no-build-isolation . \
    && /opt/newsletter/bin/pip uninstall --yes --quiet hatchling pip

FROM python:3.12-slim
LABEL org.opencontainers.image.title="newsletter" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/newsletter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NEWSLETTER_DATA_DIR=/data
RUN install --directory --owner=10001 --group=10001 --mode=0750 /data
COPY --from=builder /opt/newsletter /opt/newsletter
# Numeric, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# The API answers; a container that runs another command turns this off (see compose.yaml).
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# SIGTERM ends it within 10 seconds, with what was in flight finished.
STOPSIGNAL SIGTERM
ENTRYPOINT ["newsletter"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
