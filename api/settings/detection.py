"""Settings of uploads, the model, streams and alarms. Part of `api.settings.base`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import field_validator
from pydantic_settings import BaseSettings

from api.settings.field import BOOLEAN, setting


class UploadSettings(BaseSettings):
    """Uploaded files."""

    max_file_size_bytes: int = setting(
        50 * 2**20, "MAX_FILE_SIZE", "Largest upload, in bytes", "1024 to 2147483648 bytes", ge=1024, le=2**31
    )
    video_frame_count: int = setting(
        300, "VIDEO_FRAME_COUNT", "Most frames analyzed per uploaded video, at 2 frames per second", "1 to 600",
        ge=1, le=600,
    )
    max_video_s: float = setting(
        600.0, "DEEPGUARD_MAX_VIDEO_S", "Longest video that is analyzed as a file, in seconds", "1 to 14400 seconds",
        ge=1, le=14400,
    )
    max_video_pixels: int = setting(
        8_912_896, "DEEPGUARD_MAX_VIDEO_PIXELS", "Largest frame of a video or live stream, in pixels (width x height)",
        "65536 to 67108864 pixels", ge=65_536, le=67_108_864,
    )
    max_picture_pixels: int = setting(
        25_000_000, "DEEPGUARD_MAX_PICTURE_PIXELS",
        "Largest picture, in pixels (width x height); JPEGs of up to four times as many are shrunk",
        "65536 to 100000000 pixels", ge=65_536, le=100_000_000,
    )
    max_uploads: int = setting(
        8, "DEEPGUARD_MAX_UPLOADS", "Most uploads held on disk at a time", "1 to 256", ge=1, le=256
    )
    spool_dir: Path | None = setting(
        None, "DEEPGUARD_SPOOL_DIR", "Folder of uploads during analysis; empty: the system's temporary folder",
        "a folder",
    )


class ModelSettings(BaseSettings):
    """The model and the worker processes that run it."""

    model_path: Path | None = setting(
        None, "MODEL_PATH", "Folder with the model's manifest.json; empty: the shipped model", "a folder"
    )
    workers: int = setting(
        0, "DEEPGUARD_WORKERS", "Worker processes; 0: one per processor core", "0 to 256", ge=0, le=256
    )


class StreamSettings(BaseSettings):
    """How live streams are sampled and scored."""

    max_streams: int = setting(
        64, "DEEPGUARD_MAX_STREAMS", "Most concurrent live streams", "1 to 1000", ge=1, le=1000
    )
    sample_rate_hz: float = setting(
        2.0, "DEEPGUARD_SAMPLE_RATE", "Frames analyzed per second and stream", "0.1 to 30 frames per second",
        ge=0.1, le=30,
    )
    adaptive: bool = setting(
        True, "DEEPGUARD_ADAPTIVE", "Sample suspicious streams more often and clear streams less often", BOOLEAN
    )
    window_s: float = setting(
        4.0, "DEEPGUARD_WINDOW_S", "Media time that one verdict covers, in seconds", "0.5 to 60 seconds", ge=0.5, le=60
    )
    hop_s: float = setting(
        0.5, "DEEPGUARD_HOP_S", "Media time between two verdicts, in seconds",
        "0.1 seconds to DEEPGUARD_WINDOW_S", ge=0.1, le=60,
    )
    blur_previews: bool = setting(
        False, "DEEPGUARD_BLUR_PREVIEWS",
        "Blur faces in previews and evidence; no picture of a face is stored then", BOOLEAN,
    )

    @field_validator("hop_s")
    @classmethod
    def _hop_fits(cls, value: float, info: Any) -> float:
        if value > info.data.get("window_s", 60):
            raise ValueError(value)
        return value


class AlarmSettings(BaseSettings):
    """The error rates that verdicts and alarms keep."""

    false_alarms_per_hour: float = setting(
        0.01, "DEEPGUARD_FALSE_ALARMS_PER_HOUR", "False-alarm rate per hour and stream, on average",
        "0.0001 to 60 per hour", ge=0.0001, le=60,
    )
    miss_rate: float = setting(
        0.1, "DEEPGUARD_MISS_RATE", "Share of fakes that may be labelled REAL", "0.001 to 0.5", ge=0.001, le=0.5
    )
