"""Runs the `mtcnn` package over the parity pictures: `python -m tests.detector.mtcnn_reference OUT.json [FOLDER]`.

A process of its own, so that TensorFlow stays out of the tests' process. Start it in an empty working directory: the
package unpickles files named like its weights that it finds there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mtcnn import MTCNN

from tests.detector.parity_pictures import pictures


def main(output: Path, folder: Path | None) -> None:
    """Writes {picture: [[left, top, right, bottom, confidence], ...]}.

    The package's own smallest face size (20 px) is kept: with larger ones its pyramid goes below the network's input
    size, and it answers that there are no faces.
    """
    reference = MTCNN()
    faces = {}
    for name, rgb in pictures(folder):
        rows = reference.detect_faces(rgb, fit_to_image=False, box_format="xyxy", output_type="numpy")
        faces[name] = rows[:, 1:6].tolist()
    output.write_text(json.dumps(faces), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
