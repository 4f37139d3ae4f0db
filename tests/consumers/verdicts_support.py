"""Sample verdicts and ends of other processes."""

from __future__ import annotations

from stream.events import Label, Reason, StreamEnded, Verdict
from stream.types import EndReason, FrameCounts


def verdict(stream: str, sequence: int, epoch: int = 1) -> Verdict:
    """Returns the verdict of a 0.5 s window that ends at `sequence` / 2 seconds."""
    return Verdict(
        id=f"{stream}/{epoch}/{sequence}", stream=stream, epoch=epoch, sequence=sequence,
        start_s=sequence / 2 - 0.5, end_s=sequence / 2, samples=1, wanted=1, coverage=1.0, rate_hz=2.0,
        label=Label.NO_FACE, reason=Reason.NO_FACE, prob_fake=None, llr=None, faces=(),
        frames=FrameCounts(received=sequence), age_ms=10.0, model=None,
    )


def ended(stream: str, epoch: int = 1, reason: EndReason = EndReason.END_OF_MEDIA) -> StreamEnded:
    return StreamEnded(stream=stream, epoch=epoch, reason=reason, message="", frames=FrameCounts())
