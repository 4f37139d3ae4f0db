# Two stages: the first installs the hashed lock, the second carries the result.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/deepguard
COPY requirements.lock ./
RUN /opt/deepguard/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY detector detector
COPY stream stream
COPY consumers consumers
COPY api api
RUN /opt/deepguard/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home deepguard && \
    install -d -o deepguard -m 700 /var/lib/deepguard
COPY --from=build /opt/deepguard /opt/deepguard
ENV PATH=/opt/deepguard/bin:$PATH PYTHONUNBUFFERED=1 PORT=8080 HOST=0.0.0.0 LOG_DIR= \
    DEEPGUARD_DATABASE_URL=sqlite:////var/lib/deepguard/incidents.sqlite
VOLUME /var/lib/deepguard
USER deepguard
WORKDIR /app
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/livez')"]
# HOST is 0.0.0.0, so the service refuses to start without DEEPGUARD_API_KEYS, or DEEPGUARD_INSECURE=1.
CMD ["deepguard", "serve"]
