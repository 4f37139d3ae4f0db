# Targets for people and CI. Requires Python >= 3.11, make and access to a package index; nothing else.

VENV   := .venv
PY     := $(VENV)/bin/python
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP    := $(PY) -m pip --disable-pip-version-check
CHROMIUM_PACKAGES := chromium
PEER_PACKAGES := gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice python3-gst-1.0 \
    gir1.2-gst-plugins-bad-1.0 gir1.2-gst-rtsp-server-1.0 nginx libnginx-mod-rtmp nftables iproute2 coturn janus
KAFKA_PACKAGES := default-jre-headless maven
POSTGRES_PACKAGES := postgresql
GO_PACKAGES := golang-go
KAFKA := build/kafka/.fetched
PIP_AUDIT := pip-audit==2.10.1
LIVEKIT_VERSION := v1.13.5
LIVEKIT := build/livekit/livekit-server-$(LIVEKIT_VERSION)

# Locked, because apt-get runs one at a time and make may run several targets at once.
INSTALL := flock Makefile sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$$@"' -

# On CI a failed test is tried once more and reported as RERUN: ADR 14.
AGAIN := $(if $(CI),--reruns 1 --rerun-show-tracebacks,)
# The fast tests wait more than they compute, so two run at a time.
FAST := -n 2 --dist loadfile -m "not slow and not e2e and not bench and not soak"

.PHONY: run test audit test-fast test-peers test-tools peers screenshots lint bench soak broker lock clean browser postgres \
    kafka go livekit help

help:               ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

run: $(VENV)/.serve ## set up, start the service, publish the sample call, open the dashboard
	$(VENV)/bin/deepguard demo

test:               ## set up and run every test
	$(MAKE) -j3 $(VENV)/.test test-tools
	$(PY) -m pytest $(AGAIN) $(FAST)
	$(PY) -m pytest $(AGAIN) -m "(slow or e2e) and not bench and not soak"

test-tools: livekit browser peers build/peers/pion postgres kafka

test-peers:         ## run calls from Chromium, FFmpeg, GStreamer, libwebrtc, Janus, LiveKit and Pion
	$(MAKE) -j3 $(VENV)/.test livekit browser peers build/peers/pion
	$(PY) -m pytest $(AGAIN) tests/e2e/test_peers.py tests/e2e/test_pion.py

test-fast: $(VENV)/.test ## run the tests that take no more than a few seconds each
	$(PY) -m pytest $(FAST)

screenshots: $(VENV)/.test browser ## renew the pictures of the dashboard in docs/
	DEEPGUARD_SCREENSHOTS=1 $(PY) -m pytest tests/bench/test_pictures.py tests/e2e/test_chain.py -k "pictures or seen"

lint: $(VENV)/.test ## run ruff, mypy and the import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache --no-logo

audit: $(VENV)/.test build/audit/.ready ## check the locked dependencies for known vulnerabilities
	@$(PY) tools/audit_dependencies.py build/audit/bin/pip-audit

bench: $(VENV)/.test ## measure the detector against a plain implementation
	$(VENV)/bin/deepguard bench detector

broker: $(VENV)/.test kafka ## run Apache Kafka on 127.0.0.1:9092 until Ctrl-C
	@$(PY) -m tests.kafka

soak: $(VENV)/.test ## run the long tests
	$(PY) -m pytest -m soak

lock:               ## renew the locks (hashes, no index address)
	echo 'setuptools>=77' > build-requirements.tmp
	$(PY) -m uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	    --extra train --extra test pyproject.toml build-requirements.tmp -o requirements-test.lock
	$(PY) -m uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	    -c requirements-test.lock pyproject.toml build-requirements.tmp -o requirements.lock
	rm -f build-requirements.tmp

clean:              ## remove everything that make created
	rm -rf $(VENV) build logs .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is required: install it, or set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: requirements.lock pyproject.toml | $(PY)
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test: requirements-test.lock pyproject.toml | $(PY)
	$(PIP) install --require-hashes -r requirements-test.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $(VENV)/.serve $@

go:
	@command -v go >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    $(INSTALL) $(GO_PACKAGES); \
	  else echo "The tests with LiveKit need Go 1.21 or newer: install it (https://go.dev/dl) and run again."; exit 1; fi; }

livekit: $(LIVEKIT)

$(LIVEKIT): | go
	@echo "building the LiveKit server (minutes, once)"
	@GOTOOLCHAIN=auto GOBIN=$(CURDIR)/build/livekit CGO_ENABLED=0 \
	    go install -ldflags='-s -w' github.com/livekit/livekit-server/cmd/server@$(LIVEKIT_VERSION) || { \
	  echo "The LiveKit server could not be built: install Go 1.26, or Go 1.21 with access to the module proxy"; exit 1; }
	@mv build/livekit/server $@

build/audit/.ready: | $(PY)
	@$(PY) -m venv build/audit
	@build/audit/bin/python -m pip --disable-pip-version-check install -q '$(PIP_AUDIT)'
	@touch $@

build/peers/pion: tests/e2e/peers/pion/main.go tests/e2e/peers/pion/go.sum | go
	@cd tests/e2e/peers/pion && GOTOOLCHAIN=auto CGO_ENABLED=0 go build -o $(CURDIR)/$@ .

browser:
	@command -v chromium >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    $(INSTALL) $(CHROMIUM_PACKAGES); \
	  else echo "The browser tests need Chromium: install the package 'chromium' (Debian, Ubuntu) and run again."; exit 1; fi; }

peers:
	@{ command -v turnserver && command -v janus && command -v nginx && command -v nft && command -v ip && \
	  ls /usr/lib/nginx/modules/ngx_rtmp_module.so && /usr/bin/python3 -c \
	    'import gi; [gi.require_version(name, "1.0") for name in ("GstWebRTC", "GstRtspServer")]'; } >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    $(INSTALL) $(PEER_PACKAGES); \
	  else echo "The tests with foreign servers need '$(PEER_PACKAGES)' (Debian, Ubuntu): install them and run again."; \
	    exit 1; fi; }

postgres:
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    $(INSTALL) $(POSTGRES_PACKAGES); \
	  else echo "The tests on PostgreSQL need '$(POSTGRES_PACKAGES)' (Debian, Ubuntu): install it and run again."; \
	    exit 1; fi; }

kafka: $(KAFKA)

$(KAFKA): tests/kafka/pom.xml
	@{ command -v java && command -v mvn; } >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    $(INSTALL) $(KAFKA_PACKAGES); \
	  else echo "The Kafka tests need Java 17 and Maven: install '$(KAFKA_PACKAGES)' (Debian, Ubuntu) and run again."; \
	    exit 1; fi; }
	mvn -q -B -f tests/kafka/pom.xml dependency:copy-dependencies \
	    -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/build/kafka/lib
	@touch $@
