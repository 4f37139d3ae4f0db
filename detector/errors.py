"""Errors of the detector, as a tree.

DetectorError
├── WeightsRefused     weights are missing, have another hash, or do not fit the code
├── FinderFailed       the face finder could not run on this frame
├── ScorerFailed       the scorer could not run on these crops
├── FaceNotCroppable   a box leaves nothing to crop
├── InvalidArrayFile   a file is no readable array file, or its arrays do not fit
└── TrainingRefused    the data or settings of a training run cannot be used
    └── NoTrainingData  there is nothing to train on
"""


class DetectorError(Exception):
    """Base of all errors of this package."""


class WeightsRefused(DetectorError):
    """The weights are missing, altered, or made for another version of the code."""


class FinderFailed(DetectorError):
    """The face finder could not run on a frame."""


class ScorerFailed(DetectorError):
    """The scorer could not run on some crops, so there is no score for them."""


class FaceNotCroppable(DetectorError):
    """The face box lies outside the frame, has no area, or is far larger than the frame."""


class InvalidArrayFile(DetectorError):
    """An array file has another format, digest, set of keys, or other shapes than expected."""


class TrainingRefused(DetectorError):
    """Training cannot start, or its result may not be exported."""


class NoTrainingData(TrainingRefused):
    """There is no data to train on."""
