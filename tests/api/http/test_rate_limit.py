from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.rate_limit import TokenBuckets
from tests.api.rig import running_rig


def test_a_bucket_holds_a_minute_and_refills() -> None:
    buckets = TokenBuckets(rate_per_min=6)
    assert [buckets.take("a", 0.0) for _ in range(6)] == [0.0] * 6
    assert buckets.take("a", 0.0) == 10.0
    assert buckets.take("a", 5.0) == 5.0
    assert buckets.take("a", 10.0) == 0.0
    assert buckets.take("b", 10.0) == 0.0


@given(st.lists(st.floats(0, 30), max_size=200), st.integers(1, 60))
def test_never_more_than_the_rate_and_one_bucket(waits: list[float], rate: int) -> None:
    buckets, now_s, taken = TokenBuckets(rate), 0.0, 0
    for wait_s in waits:
        now_s += wait_s
        taken += buckets.take("a", now_s) == 0
    assert taken <= rate + now_s * rate / 60 + 1e-6


@given(st.lists(st.integers(0, 50), max_size=200))
def test_the_table_is_bounded(callers: list[int]) -> None:
    buckets = TokenBuckets(10, max_callers=8)
    for caller in callers:
        buckets.take(str(caller), 0.0)
    assert len(buckets) <= 8


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    buckets = TokenBuckets(rate_per_min=1)
    assert buckets.take("a", 100.0) == 0.0
    assert buckets.take("a", 50.0) > 0


@pytest.mark.parametrize(("proxies", "status"), [("", 429), ("127.0.0.1", 415)])
def test_only_a_known_proxy_is_believed_about_addresses(proxies: str, status: int) -> None:
    with running_rig(proxies=proxies, upload_rate_per_min=1) as rig, rig.client() as client:
        for number, expected in enumerate((415, status)):
            answer = client.post("/predict", headers={"X-Forwarded-For": f"192.0.2.{number}"})
            assert answer.status_code == expected


def test_the_service_answers_429_with_retry_after_and_keeps_callers_apart() -> None:
    first, second = "key-of-the-first-tenant", "key-of-the-second-tenant"
    with running_rig(api_keys=f"{first},{second}", upload_rate_per_min=2, offer_rate_per_min=1) as rig:
        with rig.client(first) as client:
            assert [client.post("/predict").status_code for _ in range(3)] == [415, 415, 429]
            refused = client.post("/gradcam")
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "rate_limited"
            assert 1 <= int(refused.headers["retry-after"]) <= 30
            assert [client.post("/whip/x").status_code for _ in range(2)] == [415, 429]
        with rig.client(second) as client:
            assert client.post("/predict").status_code == 415
        with rig.client("a-key-that-nobody-has") as client:
            assert [client.post("/predict").status_code for _ in range(4)] == [401] * 4
