"""Configuration of sampling, windows, decisions and limits. Frozen values; nothing here reads the environment."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.load_controller import LoadControllerConfig


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """Sliding windows on media time: one verdict every `hop_s` seconds over the last `window_s` seconds."""

    window_s: float = 4.0
    hop_s: float = 0.5
    sample_rate_hz: float = 2.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.hop_s <= self.window_s:
            raise ValueError(f"hop_s: expected 0.1 to window_s ({self.window_s}), got {self.hop_s}")
        if self.window_s > 60:
            raise ValueError(f"window_s: expected at most 60, got {self.window_s}")
        if not 0.1 <= self.sample_rate_hz <= 30:
            raise ValueError(f"sample_rate_hz: expected 0.1 to 30, got {self.sample_rate_hz}")


@dataclass(frozen=True, slots=True)
class DecisionConfig:
    """Error rates and evidence rules behind the labels.

    `false_alarms_per_hour` is the false-alarm budget of one stream. `false_alarm` and `miss` are the error
    probabilities of Wald's test, which judges files and clears faces. `correlation` is the AR(1) correlation of
    neighbouring samples of a file; it discounts their number. `prior_fake` is the operator's prior probability of a
    fake.
    """

    false_alarms_per_hour: float = 0.01
    false_alarm: float = 0.01
    miss: float = 0.1
    correlation: float = 0.7
    prior_fake: float = 0.5
    min_samples: int = 3
    min_coverage: float = 0.3

    def __post_init__(self) -> None:
        if not self.false_alarms_per_hour > 0:
            raise ValueError(f"false_alarms_per_hour: expected a positive number, got {self.false_alarms_per_hour}")
        for name in ("false_alarm", "miss", "prior_fake"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"{name}: expected a probability between 0 and 1, got {value}")
        if not 0 <= self.correlation < 1:
            raise ValueError(f"correlation: expected 0 up to (not including) 1, got {self.correlation}")


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Configuration of the stream service, apart from its workers."""

    windows: WindowConfig = field(default_factory=WindowConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    load: LoadControllerConfig = field(default_factory=LoadControllerConfig)
    max_streams: int = 64
    max_jobs: int = 8
    ended_kept_s: float = 60.0
    max_tracks: int = 16
