from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.uploads.verdict_cache import VerdictCache, VerdictKey
from tests.api.verdicts import verdict


def key(name: str, heat_map: bool = False, model: str = "m", max_samples: int = 32) -> VerdictKey:
    return VerdictKey(name, model, heat_map, max_samples)


def test_same_bytes_same_model_same_question() -> None:
    cache, kept = VerdictCache(), verdict()
    cache.put(key("a"), kept)
    assert cache.get(key("a")) is kept
    for other in (key("b"), key("a", heat_map=True), key("a", model="n"), key("a", max_samples=8)):
        assert cache.get(other) is None


def test_the_least_recently_used_goes_first() -> None:
    cache = VerdictCache(max_entries=2)
    for name in ("a", "b"):
        cache.put(key(name), verdict())
    cache.get(key("a"))
    cache.put(key("c"), verdict())
    assert [cache.get(key(name)) is not None for name in "abc"] == [True, False, True]


def test_an_entry_larger_than_the_cache_is_not_stored() -> None:
    cache = VerdictCache(max_bytes=10_000)
    cache.put(key("a"), verdict())
    cache.put(key("b"), verdict(heat_map_png=b"x" * 20_000))
    assert cache.get(key("b")) is None
    assert cache.get(key("a")) is not None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5000)), max_size=100))
def test_bounds_hold_and_the_size_is_the_sum(puts: list[tuple[int, int]]) -> None:
    cache = VerdictCache(max_entries=8, max_bytes=40_000)
    for name, size_bytes in puts:
        cache.put(key(str(name)), verdict(heat_map_png=b"x" * size_bytes))
        assert len(cache) <= 8
        assert cache.size_bytes <= 40_000
    assert (cache.size_bytes == 0) == (len(cache) == 0)
