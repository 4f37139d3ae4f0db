"""Everything that the detector can refuse or fail at.

DetectorError
├── WeightsRefused     an artefact is missing, has another hash, or does not fit the code
├── FinderFailed       the face finder could not run on this frame
├── ScorerFailed       the scorer could not run on these crops
├── FaceNotCroppable   a box leaves nothing to crop
├── InvalidArrayFile   bytes are not the format an internal file should have
└── TrainingRefused    the training data or settings cannot give an honest model
    └── NoTrainingData  there is nothing to train on
"""


class DetectorError(Exception):
    """Base of all errors of this package."""


class WeightsRefused(DetectorError):
    """The weights are absent, altered, or made for another version of the code."""


class FinderFailed(DetectorError):
    """The face finder could not run."""


class ScorerFailed(DetectorError):
    """The scorer could not run. There is no score without a model."""


class FaceNotCroppable(DetectorError):
    """The face box lies outside the frame or has no area."""


class InvalidArrayFile(DetectorError):
    """A stored array file does not have the expected keys or shapes."""


class TrainingRefused(DetectorError):
    """Training cannot start or its result may not be exported."""


class NoTrainingData(TrainingRefused):
    """There is nothing to train on."""
