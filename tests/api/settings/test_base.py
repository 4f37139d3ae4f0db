from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.errors import SettingsRefused
from api.settings.base import Settings, load_settings, require_safe_exposure
from api.settings.factories import claim_config, kafka_config, media_limits
from api.settings.reference import settings_table
from consumers.kafka.config import SaslMechanism, Security
from stream.media_limits import MediaLimits

KEY = "a-key-that-is-long-enough"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in settings_table():
        monkeypatch.delenv(row.name, raising=False)


def test_defaults_are_those_of_the_table() -> None:
    settings = load_settings()
    assert (settings.port, settings.host, settings.video_frame_count) == (5000, "127.0.0.1", 300)
    assert settings.max_file_size_bytes == 50 * 2**20
    assert settings.api_keys == settings.origins == settings.cors_origins == ()
    assert settings.is_loopback


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("PORT", "8080", "port", 8080),
        ("HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("DEBUG", "True", "debug", True),
        ("LOG_LEVEL", "warning", "log_level", "WARNING"),
        ("LOG_DIR", "", "log_dir", ""),
        ("CORS_ORIGINS", "http://localhost:3000, https://Example.org", "cors_origins",
         ("http://localhost:3000", "https://example.org")),
        ("VIDEO_FRAME_COUNT", "10", "video_frame_count", 10),
        ("MODEL_PATH", "/models/one", "model_path", Path("/models/one")),
        ("MAX_FILE_SIZE", "1048576", "max_file_size_bytes", 2**20),
        ("DEEPGUARD_INSECURE", "1", "insecure", True),
        ("DEEPGUARD_SAMPLE_RATE", "5", "sample_rate_hz", 5.0),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:9092, [::1]:9093", "kafka_bootstrap", ("a:9092", "[::1]:9093")),
        ("DEEPGUARD_KAFKA_SECURITY", "SASL_SSL", "kafka_security", Security.SASL_SSL),
        ("DEEPGUARD_KAFKA_MEDIA_TOPIC", "media.v2", "kafka_media_topic", "media.v2"),
        ("DEEPGUARD_UDP_PORTS", "40000-40999", "udp_ports", (40000, 40999)),
        ("DEEPGUARD_PUBLIC_ADDRESSES", "203.0.113.7, 2001:DB8::7", "public_addresses", ("203.0.113.7", "2001:db8::7")),
        ("DEEPGUARD_TURN", "turn:a?transport=udp,turns:b:443", "turn", ("turn:a?transport=udp", "turns:b:443")),
        ("DEEPGUARD_OVERFLOW_URL", "https://other.example/", "overflow_url", "https://other.example"),
        ("DEEPGUARD_KAFKA_CLAIM_URLS", "https://*.example.com/a/,http://store:9000/", "kafka_claim_urls",
         ("https://*.example.com/a/", "http://store:9000/")),
        ("DEEPGUARD_VERDICTS", "kafka", "verdicts", "kafka"),
        ("DEEPGUARD_INCIDENT_DAYS", "7", "incident_days", 7),
        ("DEEPGUARD_BLUR_PREVIEWS", "1", "blur_previews", True),
        ("DEEPGUARD_PROXIES", "10.0.0.1,10.0.0.2", "proxies", ("10.0.0.1", "10.0.0.2")),
    ],
)
def test_variables_are_read(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, expected: object
) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(load_settings(), field) == expected


@pytest.mark.parametrize("row", settings_table(), ids=lambda row: row.name)
def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch, row: object) -> None:
    name = row.name     # type: ignore[attr-defined]
    default = load_settings()
    monkeypatch.setenv(name, "")
    assert load_settings() == (default.model_copy(update={"log_dir": ""}) if name == "LOG_DIR" else default)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"), ("PORT", "70000"), ("HOST", "example.org"), ("DEBUG", "perhaps"), ("LOG_LEVEL", "LOUD"),
        ("CORS_ORIGINS", "*"), ("CORS_ORIGINS", "localhost:3000"), ("VIDEO_FRAME_COUNT", "0"),
        ("MAX_FILE_SIZE", "50MB"), ("DEEPGUARD_WORKERS", "-1"), ("DEEPGUARD_HOP_S", "5"),
        ("DEEPGUARD_SAMPLE_RATE", "nan"), ("DEEPGUARD_UPLOAD_RATE", "0"), ("DEEPGUARD_ORIGINS", "https://a/b"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka"), ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,https://a:1"),
        ("DEEPGUARD_KAFKA_SECURITY", "TLS"), ("DEEPGUARD_KAFKA_SASL_MECHANISM", "GSSAPI"),
        ("DEEPGUARD_KAFKA_CLAIM_URLS", "s3://bucket/"), ("DEEPGUARD_KAFKA_CLAIM_URLS", "https://*"),
        ("DEEPGUARD_KAFKA_CLAIM_URLS", "https://a.*.com/"), ("DEEPGUARD_VERDICTS", "everywhere"),
        ("DEEPGUARD_KAFKA_MEDIA_TOPIC", "a topic"), ("DEEPGUARD_KAFKA_RECORD_BYTES", "1000"),
        ("DEEPGUARD_UDP_PORTS", "40000"), ("DEEPGUARD_UDP_PORTS", "41000-40000"), ("DEEPGUARD_UDP_PORTS", "80-90"),
        ("DEEPGUARD_PUBLIC_ADDRESSES", "example.org"), ("DEEPGUARD_STUN", "https://a"), ("DEEPGUARD_TURN", "turn:a b"),
        ("DEEPGUARD_OVERFLOW_URL", "https://a/whip"), ("DEEPGUARD_INCIDENT_DAYS", "0"),
        ("DEEPGUARD_WEBHOOK_URLS", "ftp://a/"), ("DEEPGUARD_WEBHOOK_URLS", "https://a/,https://a/"),
    ],
)
def test_an_invalid_value_is_refused_with_its_variable_and_the_allowed_values(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsRefused) as refused:
        load_settings()
    allowed = next(row.allowed for row in settings_table() if row.name == name)
    assert str(refused.value) == f"{name}: expected {allowed}, got {value!r}"


@pytest.mark.parametrize("row", [row for row in settings_table() if row.name != "LOG_DIR"], ids=lambda row: row.name)
@pytest.mark.parametrize("value", [
    "https://me:hush-hush@a/x", "https://hush-hush@a b", "https://me:hush,hush-hush@a:port/", "me:hush-hush@a",
    "https://me:hu/hush-hush@a/", "ftp://a/x?token=hush-hush", "https://a b/#hush-hush", "ftp://a/,ftp://b/?k=hush-hush",
])  # fmt: skip
def test_logins_and_tokens_in_urls_are_not_shown(monkeypatch: pytest.MonkeyPatch, row: object, value: str) -> None:
    name = row.name     # type: ignore[attr-defined]
    monkeypatch.setenv(name, value)
    told = ""
    try:
        load_settings()
    except SettingsRefused as refused:
        told = str(refused)
    assert "hush" not in told
    assert not told or told.startswith(("DEEPGUARD_WEBHOOK_", f"{name}: expected "))


@pytest.mark.parametrize("keys", ["short", f"{KEY},with space in the middle", f"{KEY},ümlaut-ümlaut-ümlaut"])
def test_weak_keys_are_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    monkeypatch.setenv("DEEPGUARD_API_KEYS", keys)
    with pytest.raises(SettingsRefused, match=r"^DEEPGUARD_API_KEYS: expected ") as refused:
        load_settings()
    assert not any(key in str(refused.value) for key in keys.split(","))


def test_keys_do_not_show_in_a_repr() -> None:
    assert KEY not in repr(load_settings(api_keys=KEY))


def test_kafka_is_reached_as_the_settings_say() -> None:
    config = kafka_config(
        load_settings(
            kafka_bootstrap="a:1,b:2", kafka_security="SASL_SSL", kafka_sasl_mechanism="PLAIN", kafka_username="me",
            kafka_password="hush-hush", kafka_instance="pod-1", kafka_record_bytes=2**20,
        )
    )
    assert (config.bootstrap, config.instance, config.record_bytes) == ("a:1,b:2", "pod-1", 2**20)
    assert (config.security, config.mechanism) == (Security.SASL_SSL, SaslMechanism.PLAIN)
    assert (config.username, config.password) == ("me", "hush-hush")
    assert "hush-hush" not in repr(config)


def test_references_are_fetched_as_the_settings_say() -> None:
    config = claim_config(load_settings(kafka_claim_urls="https://*.example.com/a/", kafka_record_bytes=2**20))
    assert config.allowed.check_url("https://x.example.com/a/b").path == "/a/b"
    assert (config.payload_bytes, config.allowed.private) == (2**20, False)
    assert claim_config(load_settings()).allowed.prefixes == ()
    with pytest.raises(SettingsRefused, match=r"^DEEPGUARD_KAFKA_CLAIM_URLS: "):
        claim_config(load_settings(kafka_claim_urls="https://me@example.com/"))


def test_kafka_needs_an_address_and_for_sasl_a_login() -> None:
    with pytest.raises(SettingsRefused, match=r"^KAFKA_BOOTSTRAP_SERVERS: "):
        kafka_config(load_settings())
    with pytest.raises(SettingsRefused, match=r"^DEEPGUARD_KAFKA_USERNAME: "):
        kafka_config(load_settings(kafka_bootstrap="a:1", kafka_security="SASL_PLAINTEXT"))


@pytest.mark.parametrize(("source", "name"), [
    ({}, "DEEPGUARD_KAFKA_SASL_MECHANISM"),
    ({"kafka_oauth_token_file": "t", "kafka_oauth_provider": "m:f"}, "DEEPGUARD_KAFKA_SASL_MECHANISM"),
    ({"kafka_oauth_token_url": "https://id.example.com/token"}, "DEEPGUARD_KAFKA_OAUTH_CLIENT_ID"),
    ({"kafka_oauth_token_url": "https://me:secret@id.example.com/"}, "DEEPGUARD_KAFKA_OAUTH_TOKEN_URL"),
    ({"kafka_oauth_provider": "module.function"}, "DEEPGUARD_KAFKA_OAUTH_PROVIDER"),
])  # fmt: skip
def test_oauth_needs_exactly_one_source_of_tokens(source: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^{name}"):
        kafka_config(load_settings(**by_oauth(source)))


def test_oauth_settings_reach_the_configuration() -> None:
    source = {"kafka_oauth_token_url": "https://id.example.com/token", "kafka_oauth_client_id": "me"}
    config = kafka_config(load_settings(**by_oauth({**source, "kafka_oauth_client_secret": "not-a-secret"})))
    assert (config.oauth.token_url, config.oauth.client_id, config.oauth.client_secret) == (
        "https://id.example.com/token", "me", "not-a-secret",
    )  # fmt: skip


def by_oauth(source: dict[str, Any]) -> dict[str, Any]:
    return {"kafka_bootstrap": "a:1", "kafka_security": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER", **source}


def test_all_invalid_values_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("DEEPGUARD_WORKERS", "x")
    with pytest.raises(SettingsRefused) as refused:
        load_settings()
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == ["PORT", "DEEPGUARD_WORKERS"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    require_safe_exposure(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_hosts_need_a_key_or_a_word(host: str) -> None:
    with pytest.raises(SettingsRefused, match=r"DEEPGUARD_API_KEYS.*DEEPGUARD_INSECURE=1"):
        require_safe_exposure(Settings(host=host))
    require_safe_exposure(Settings(host=host, insecure=True))
    require_safe_exposure(Settings(host=host, api_keys=KEY))


WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_webhooks_take_one_secret_for_all_or_one_each() -> None:
    one = load_settings(webhook_urls="https://a/,https://b/", webhook_secrets=WEBHOOK_SECRET)
    assert one.signed_webhooks == (("https://a/", WEBHOOK_SECRET), ("https://b/", WEBHOOK_SECRET))
    other = WEBHOOK_SECRET.replace("M", "N")
    each = load_settings(webhook_urls="https://a/,https://b/", webhook_secrets=f"{WEBHOOK_SECRET},{other}")
    assert each.signed_webhooks == (("https://a/", WEBHOOK_SECRET), ("https://b/", other))
    assert load_settings().signed_webhooks == ()
    assert WEBHOOK_SECRET not in repr(one)


@pytest.mark.parametrize("secrets", ["hush", "whsec_", "whsec_dG9vc2hvcnQ=", "whsec_????????????????????????????????"])
def test_weak_webhook_secrets_are_refused_and_not_shown(secrets: str) -> None:
    with pytest.raises(SettingsRefused, match=r"^DEEPGUARD_WEBHOOK_SECRETS: expected whsec_") as refused:
        load_settings(webhook_urls="https://a/", webhook_secrets=secrets)
    assert "got" not in str(refused.value)


@pytest.mark.parametrize("secrets", ["", f"{WEBHOOK_SECRET},{WEBHOOK_SECRET}"])
def test_every_webhook_needs_its_secret(secrets: str) -> None:
    with pytest.raises(SettingsRefused, match=r"^DEEPGUARD_WEBHOOK_SECRETS: expected one secret, or one for each of 3"):
        load_settings(webhook_urls="https://a/,https://b/,https://c/", webhook_secrets=secrets)


def test_webhooks_without_tls_are_allowed_on_purpose_only() -> None:
    with pytest.raises(SettingsRefused, match=r"^DEEPGUARD_WEBHOOK_URLS: expected https"):
        load_settings(webhook_urls="http://a/", webhook_secrets=WEBHOOK_SECRET)
    assert load_settings(webhook_urls="http://a/", webhook_secrets=WEBHOOK_SECRET, webhook_private=True).signed_webhooks


def test_limits_of_media_follow_the_settings() -> None:
    usual = media_limits(load_settings())
    assert usual == MediaLimits(file_bytes=usual.file_bytes)
    changed = media_limits(load_settings(max_video_s=1200, max_video_pixels=65_536, max_picture_pixels=70_000))
    assert (changed.duration_s, changed.frames, changed.job_s) == (1200, 144_000, 120)
    assert (changed.video_pixels, changed.picture_pixels, changed.shrunk_picture_pixels) == (65_536, 70_000, 280_000)
