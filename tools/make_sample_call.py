"""Generator of the sample call: a video call in which another face is swapped in for the middle third.

    python -m tools.make_sample_call OUT.mp4 --portraits tests/media/obama.jpg tests/media/biden.jpg

The first portrait is segmented (GrabCut, seeded by the landmarks), placed before its own blurred background as in call
software, and moved: hand-held camera, head sway, drifting light and colour temperature, sensor noise. From 15 s to 30 s
the second portrait's face is blended into every frame as by real-time swaps: aligned by five jittering landmarks,
matched in CIE Lab, blended in two bands. It is softer than the picture around it, because it covers the sensor noise.
All random numbers come from one seed, so equal inputs give equal clips.

Needs the `train` extra for the landmarks (MTCNN). Pictures are uint8 BGR (h, w, 3); points are float64 (n, 2),
x then y in pixels.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[Any]      # uint8
    Array = NDArray[Any]        # float64

WIDTH_PX, HEIGHT_PX, RATE_HZ = 640, 360, 30
DURATION_S, SWAP_START_S, SWAP_END_S = 45.0, 15.0, 30.0
BIT_RATE = 480_000
SEED = 20
EYES_TO_MOUTH_PX = 49.0         # in the frame; a face is then about 150 px from chin to forehead
FACE_AT_PX = (326.0, 172.0)     # resting position of the nose in the frame
BACKGROUND_ZOOM = 1.9           # scale of the room relative to the person, so that it fills the wide frame
SWAP_SIDE_PX = 160              # side of the square from which the swapped face is scaled
# left eye, right eye, nose, left and right mouth corner of an upright face, as shares of the aligned square
TEMPLATE = np.array([(0.36, 0.42), (0.64, 0.42), (0.5, 0.57), (0.385, 0.71), (0.615, 0.71)])


def five_points(picture: Picture) -> Array:
    """Returns the landmarks (5, 2) of the largest face. Raises SystemExit if there is none."""
    from mtcnn import MTCNN

    faces = MTCNN().detect_faces(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    if not faces:
        raise SystemExit("a portrait shows no face; pass two pictures with a frontal face each")
    points = max(faces, key=lambda face: face["box"][2] * face["box"][3])["keypoints"]
    return np.array([points[name] for name in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")], float)


def eyes_to_mouth_px(points: Array) -> float:
    """Returns the distance in pixels from the midpoint of the eyes to that of the mouth corners."""
    return float(np.linalg.norm(points[:2].mean(axis=0) - points[3:].mean(axis=0)))


class Wander:
    """Smooth, bounded, seeded motion: a sum of sines with frequencies between `slow_hz` and `fast_hz`."""

    def __init__(self, rng: np.random.Generator, amplitude: float, slow_hz: float, fast_hz: float) -> None:
        self._hz = rng.uniform(slow_hz, fast_hz, 5)
        self._phase = rng.uniform(0, 2 * np.pi, 5)
        self._weight = amplitude * np.sqrt(slow_hz / self._hz) / 2.5

    def at(self, time_s: float) -> float:
        """Returns the displacement at a time."""
        return float(np.sum(self._weight * np.sin(2 * np.pi * self._hz * time_s + self._phase)))


def person_alpha(picture: Picture, points: Array) -> Array:
    """Returns the mask of the person, (h, w) in 0..1, by GrabCut from a head ellipse and a trunk below it."""
    unit = eyes_to_mouth_px(points)
    x, y = points[2]
    width = picture.shape[1]
    mask = np.full(picture.shape[:2], cv2.GC_PR_BGD, np.uint8)

    def oval(across: float, down: float, above_nose: float, label: int) -> None:
        centre = (int(x), int(y - above_nose * unit))
        cv2.ellipse(mask, centre, (int(across * unit), int(down * unit)), 0, 0, 360, label, -1)

    trunk = [(-0.75, 1.5), (0.75, 1.5), (1.1, 2.6), (2.2, 9), (-2.2, 9), (-1.1, 2.6)]
    likely = [(-1.5, 1.8), (1.5, 1.8), (3.6, 3.2), (3.6, 9), (-4.0, 9), (-3.6, 3.2)]
    cv2.fillPoly(mask, [(points[2] + unit * np.array(likely)).astype(np.int32)], cv2.GC_PR_FGD)
    oval(1.5, 1.95, 0.6, cv2.GC_PR_FGD)
    cv2.fillPoly(mask, [(points[2] + unit * np.array(trunk)).astype(np.int32)], cv2.GC_FGD)
    oval(0.95, 1.5, 0.2, cv2.GC_FGD)        # the face
    oval(1.22, 1.2, 1.1, cv2.GC_FGD)        # the skull with its hair
    for strip in (np.s_[:, : int(0.04 * width)], np.s_[:, int(0.96 * width) :], np.s_[: int(y - 2.4 * unit), :]):
        mask[strip] = cv2.GC_BGD
    cv2.setRNGSeed(SEED)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, mask, (0, 0, 0, 0), *models, 8, cv2.GC_INIT_WITH_MASK)
    solid: Array = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    solid = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    solid = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid)
    if count > 1:
        solid = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    return cv2.GaussianBlur(cv2.erode(solid, np.ones((3, 3), np.uint8)).astype(np.float64), (0, 0), 1.6)


def room(picture: Picture, alpha: Array, centre: Array, scale: float) -> Array:
    """Returns the blurred background without the person, float BGR, with a margin of 60 px around the frame."""
    keep = 1.0 - cv2.dilate(alpha, np.ones((25, 25)))
    # extends curtains, windows and walls downwards behind the person
    weight = cv2.GaussianBlur(keep, (0, 0), sigmaX=5, sigmaY=250)[..., None] + 1e-4
    fill = cv2.GaussianBlur(picture * keep[..., None], (0, 0), sigmaX=5, sigmaY=250) / weight
    empty = np.where(keep[..., None] > 0.5, picture.astype(np.float64), fill)
    zoom = scale * BACKGROUND_ZOOM
    offset = np.array(FACE_AT_PX) + 60 - zoom * centre
    to_frame = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
    wide = cv2.warpAffine(empty, to_frame, (WIDTH_PX + 120, HEIGHT_PX + 120), borderMode=cv2.BORDER_REFLECT)
    return cv2.GaussianBlur(wide, (0, 0), 7)


def sample_layer(layer: Array, where: Array) -> Array:
    """Returns the values (h, w, c) of a layer at points (h, w, 2), 0 outside."""
    x, y = np.moveaxis(where.astype(np.float32), -1, 0)
    values: Array = cv2.remap(layer, np.ascontiguousarray(x), np.ascontiguousarray(y), cv2.INTER_LINEAR)
    return values


@dataclass(frozen=True)
class Pose:
    """Pose at one time: camera pan (px), zoom and roll; displacement of body and head (px), and head roll."""

    pan: Array
    zoom: float
    roll_rad: float
    body: Array
    head: Array
    head_roll_rad: float


class Motion:
    """Motion of camera, body and head over time."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._slow = [Wander(rng, amplitude, 0.05, 0.3) for amplitude in (9.0, 5.0, 0.035, 0.012, 4.0, 1.5)]
        self._shake = [Wander(rng, amplitude, 1.5, 5.0) for amplitude in (0.9, 0.9, 0.002)]
        self._head = [Wander(rng, amplitude, 0.12, 0.8) for amplitude in (7.0, 4.5, 0.05)]

    def at(self, time_s: float) -> Pose:
        """Returns the pose at a time."""
        pan_x, pan_y, zoom, roll, body_x, body_y = (wander.at(time_s) for wander in self._slow)
        shake_x, shake_y, shake_roll = (wander.at(time_s) for wander in self._shake)
        head_x, head_y, head_roll = (wander.at(time_s) for wander in self._head)
        return Pose(np.array([pan_x + shake_x, pan_y + shake_y]), 1.03 + zoom, roll + shake_roll,
                    np.array([body_x, body_y]), np.array([head_x, head_y]), head_roll)


class Scene:
    """The person in front of the room, rendered from the camera at a pose."""

    def __init__(self, picture: Picture) -> None:
        self.points = five_points(picture)
        self._scale = EYES_TO_MOUTH_PX / eyes_to_mouth_px(self.points)
        self._nose = self.points[2]
        alpha = person_alpha(picture, self.points)
        soft = cv2.GaussianBlur(picture, (0, 0), 0.35 / self._scale).astype(np.float32)   # low-pass before downscaling
        self._layer = np.dstack([soft, alpha.astype(np.float32)])
        self._room = room(picture, alpha, self._nose, self._scale)
        ys, xs = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float64)
        self._grid = np.dstack([xs, ys])

    def _camera(self, pose: Pose) -> Array:
        """Returns the affine matrix (2, 3) from scene to frame."""
        matrix = cv2.getRotationMatrix2D((WIDTH_PX / 2, HEIGHT_PX / 2), float(np.degrees(pose.roll_rad)), pose.zoom)
        matrix[:, 2] += pose.pan
        return matrix

    def _sway(self, scene: Array, pose: Pose) -> Array:
        """Returns the displacement (.., 2) of scene points (.., 2): full for the head, less for the neck, else 0."""
        neck = np.array([FACE_AT_PX[0], FACE_AT_PX[1] + 1.6 * EYES_TO_MOUTH_PX])
        weight = 1 / (1 + np.exp((scene[..., 1] - neck[1]) / (0.25 * EYES_TO_MOUTH_PX)))
        arm = scene - neck
        turn = pose.head_roll_rad * np.stack([-arm[..., 1], arm[..., 0]], axis=-1)
        shift: Array = pose.body + weight[..., None] * (pose.head + turn)
        return shift

    def landmarks(self, pose: Pose) -> Array:
        """Returns the landmarks (5, 2) in pixels of the frame."""
        scene = (self.points - self._nose) * self._scale + FACE_AT_PX
        scene = scene + self._sway(scene, pose)
        camera = self._camera(pose)
        frame: Array = scene @ camera[:, :2].T + camera[:, 2]
        return frame

    def render(self, pose: Pose) -> Array:
        """Returns float BGR (360, 640, 3), without noise."""
        inverse = cv2.invertAffineTransform(self._camera(pose))
        scene = self._grid @ inverse[:, :2].T + inverse[:, 2]
        shift = 60 + 0.25 * pose.body
        behind = sample_layer(self._room, scene + shift)
        source = (scene - self._sway(scene, pose) - FACE_AT_PX) / self._scale + self._nose
        person = sample_layer(self._layer, source)
        alpha = person[..., 3:]
        picture: Array = person[..., :3] * alpha + behind * (1 - alpha)
        return picture


class Sensor:
    """Light and sensor: slow exposure and colour temperature, side light, shot and read noise."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._exposure = Wander(rng, 0.10, 0.03, 0.2)
        self._warmth = Wander(rng, 0.06, 0.02, 0.12)
        self._side = Wander(rng, 0.12, 0.03, 0.15)
        self._across = np.linspace(-1, 1, WIDTH_PX)[None, :, None]

    def expose(self, light: Array, time_s: float) -> Picture:
        """Returns uint8 BGR (h, w, 3): the light after exposure, colour temperature and noise."""
        warmth = self._warmth.at(time_s)
        gain = np.array([1 - warmth, 1.0, 1 + warmth]) * (0.97 + self._exposure.at(time_s))
        lit = light * gain * (1 + self._side.at(time_s) * self._across)
        noise = self._rng.normal(0, 1, lit.shape) * np.sqrt(4.0 + 0.06 * np.clip(lit, 0, 255))
        return np.clip(lit + noise, 0, 255).astype(np.uint8)


class Swap:
    """Blends the face of one portrait into frames of another person."""

    def __init__(self, picture: Picture, rng: np.random.Generator) -> None:
        square = TEMPLATE * SWAP_SIDE_PX
        align, _ = cv2.estimateAffinePartial2D(five_points(picture), square, method=cv2.LMEDS)
        face = cv2.warpAffine(picture, align, (SWAP_SIDE_PX, SWAP_SIDE_PX), flags=cv2.INTER_AREA)
        self._face = cv2.GaussianBlur(face, (0, 0), 0.5)
        self._square = square
        self._mask = np.zeros((SWAP_SIDE_PX, SWAP_SIDE_PX), np.float32)
        centre, axes = (0.5, 0.565), (0.235, 0.30)
        cv2.ellipse(self._mask, tuple(int(v * SWAP_SIDE_PX) for v in centre),
                    tuple(int(v * SWAP_SIDE_PX) for v in axes), 0, 0, 360, 1.0, -1)
        self._rng = rng
        self._jitter = np.zeros((5, 2))

    def apply(self, frame: Picture, landmarks: Array) -> Picture:
        """Returns the frame with the face blended in at these landmarks, (5, 2) in pixels."""
        self._jitter = 0.8 * self._jitter + self._rng.normal(0, 0.35, (5, 2))
        to_frame, _ = cv2.estimateAffinePartial2D(self._square, landmarks + self._jitter, method=cv2.LMEDS)
        size = (WIDTH_PX, HEIGHT_PX)
        face = cv2.warpAffine(self._face, to_frame, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mask = cv2.warpAffine(self._mask, to_frame, size)
        face = match_colour(face, frame, mask > 0.5)
        return blend_two_bands(face, frame, mask)


def match_colour(face: Picture, frame: Picture, inside: Array) -> Picture:
    """Returns `face` with the Lab mean of the frame inside the mask, and its spread moved half-way to the frame's."""
    lab = cv2.cvtColor(face, cv2.COLOR_BGR2LAB).astype(np.float64)
    wanted = cv2.cvtColor(frame, cv2.COLOR_BGR2LAB)[inside].astype(np.float64)
    given = lab[inside]
    spread = 0.5 + 0.5 * wanted.std(axis=0) / (given.std(axis=0) + 1e-6)
    lab = (lab - given.mean(axis=0)) * spread + wanted.mean(axis=0)
    matched: Picture = cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2BGR)
    return matched


def blend_two_bands(face: Picture, frame: Picture, mask: Array) -> Picture:
    """Returns a blend with a wide edge for coarse structure and a narrow edge for detail."""
    wide = cv2.GaussianBlur(mask, (0, 0), 9)[..., None]
    narrow = cv2.GaussianBlur(mask, (0, 0), 3)[..., None]
    coarse_face = cv2.GaussianBlur(face, (0, 0), 6).astype(np.float64)
    coarse_frame = cv2.GaussianBlur(frame, (0, 0), 6).astype(np.float64)
    mixed: Array = wide * coarse_face + (1 - wide) * coarse_frame
    mixed += narrow * (face - coarse_face) + (1 - narrow) * (frame - coarse_frame)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def write_clip(out: Path, caller: Picture, other: Picture) -> int:
    """Renders the clip and returns its number of frames.

    H.264 Constrained Baseline 3.1, no B-frames, a key frame every 2 s.
    """
    rng = np.random.default_rng(SEED)
    scene, motion, sensor, swap = Scene(caller), Motion(rng), Sensor(rng), Swap(other, rng)
    frames = int(DURATION_S * RATE_HZ)
    with av.open(str(out), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=RATE_HZ)
        video.width, video.height, video.pix_fmt, video.bit_rate = WIDTH_PX, HEIGHT_PX, "yuv420p", BIT_RATE
        video.codec_context.time_base = Fraction(1, RATE_HZ)
        video.options = {"profile": "baseline", "level": "3.1", "preset": "slow", "threads": "1", "bf": "0",
                         "g": str(2 * RATE_HZ), "maxrate": str(2 * BIT_RATE), "bufsize": str(2 * BIT_RATE)}
        for number in range(frames):
            time_s = number / RATE_HZ
            pose = motion.at(time_s)
            picture = sensor.expose(scene.render(pose), time_s)
            if SWAP_START_S <= time_s < SWAP_END_S:
                picture = swap.apply(picture, scene.landmarks(pose))
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, RATE_HZ)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return frames


def main() -> None:
    """Parses the command line and writes the clip."""
    parser = argparse.ArgumentParser(description="Generate the sample call.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--portraits", type=Path, nargs=2, required=True, metavar=("CALLER", "OTHER"))
    args = parser.parse_args()
    caller, other = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in args.portraits)
    if caller is None or other is None:
        raise SystemExit("a portrait is not a readable picture")
    write_clip(args.out, caller, other)


if __name__ == "__main__":
    main()
