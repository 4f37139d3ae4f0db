"""Keras and OpenVINO compute the same network from the same arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from detector.config import DetectorConfig, Precision, default_weights_dir
from detector.errors import InvalidArrayFile
from detector.face_crop import crop_face, scale_pixels
from detector.factory import build_finder
from detector.fusion import UNCALIBRATED, Calibration, log_likelihood_ratio, prob_fake
from detector.gradcam import LAYER_NAME, heat_maps
from detector.model_artifact import open_arrays, read_manifest
from detector.openvino_scorer import compile_for_cpu
from detector.training.data import degradations
from detector.training.data.datasets import read_rgb
from detector.xception_keras import build_keras_model, convolution_names, fold_normalisation
from detector.xception_openvino import GraphOutput, build_graph
from tests.detector.pictures import MEDIA, network_arrays, portrait, released_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In the mean over crops of people, in nats; on calls that were not used for the rounding it is .15.
EIGHT_BIT_TOLERANCE = 0.3


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.stack([crop_face(face.rgb, face.face).rgb for face in map(portrait, range(8))])


def test_every_convolution_is_named_once() -> None:
    ours, keras_names, norms = zip(*convolution_names(), strict=True)
    assert len(set(ours)) == len(set(keras_names)) == len(set(norms)) == 2 + 3 * 2 + 8 * 3 + 2 * 2 + 4


def test_a_missing_weight_is_named() -> None:
    released = released_weights()
    del released["block7_sepconv3_bn|beta"]
    with pytest.raises(InvalidArrayFile, match="block7_sepconv3_bn"):
        fold_normalisation(released)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_shipped_network_agrees_with_keras_on_faces() -> None:
    """Posteriors agree to .001 in floats, and approximately in eight bits."""
    shipped = default_weights_dir()
    manifest = read_manifest(shipped)
    arrays, crops = open_arrays(shipped, manifest).arrays, people(100)
    keras_logits: NDArray[np.float32] = build_keras_model(arrays).predict(scale_pixels(crops), verbose=0)[:, 0]
    exact, rounded = run(arrays, crops, Precision.FLOAT32)[0], run(arrays, crops[::5], Precision.AUTO)[0]
    expected = probabilities(keras_logits, manifest.calibration)
    assert np.ptp(expected) > 0.2, "crops of which all is said alike prove nothing"
    assert np.abs(probabilities(exact, manifest.calibration) - expected).max() <= 1e-3
    assert np.abs(rounded - keras_logits[::5]).mean() < EIGHT_BIT_TOLERANCE


def probabilities(logits: NDArray[np.float32], calibration: Calibration | None) -> NDArray[np.float64]:
    calibration = calibration or UNCALIBRATED
    return np.array([prob_fake(log_likelihood_ratio(float(logit), None, calibration)) for logit in logits])


def people(count: int) -> NDArray[np.uint8]:
    """uint8 (2 * count, 224, 224, 3): two portraits as `count` calls each would bring them."""
    rng, crops = np.random.default_rng(7), []
    for name in ("obama", "biden"):
        rgb = read_rgb(MEDIA / f"{name}.jpg")
        (face, *_) = build_finder(DetectorConfig()).find(rgb)
        rgb, face = degradations.scaled(rgb, face, degradations.FACE_RANGE_PX[1] / face.box.width)
        calls = [degradations.draw(rng, face.box.width) for _ in range(count)]
        crops += [crop_face(*degradations.apply(rgb, face, call)).rgb for call in calls]
    return np.stack(crops)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_folding_leaves_the_logits_unchanged(pixels: NDArray[np.uint8]) -> None:
    """Released weights in the network as Keras defines it, against the folded arrays; float16 storage is the gap."""
    import keras

    released = released_weights()
    keras.backend.clear_session()
    model = keras.applications.Xception(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([released[f"{layer.name}|{variable.path.split('/')[-1]}"] for variable in layer.weights])
    expected = model.predict(scale_pixels(pixels[:3]), verbose=0)
    middle, pooled = run(fold_normalisation(released), pixels[:3], Precision.FLOAT32, GraphOutput.FEATURES)
    assert middle.shape == (3, 14, 14, 728)
    assert np.abs(pooled - expected).max() < 0.02 * expected.std()


def test_the_logit_is_the_mean_of_the_evidence_plus_the_bias(pixels: NDArray[np.uint8]) -> None:
    arrays = network_arrays()
    logits, evidence = run(arrays, pixels[:2], Precision.FLOAT32)
    assert np.allclose(logits, evidence.mean(axis=(1, 2)) + arrays["head|bias"], atol=1e-4)


def run(
    arrays: Any, pixels: NDArray[np.uint8], precision: Precision, cut: GraphOutput = GraphOutput.SCORES
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    graph = build_graph(arrays, cut, int8_activations=precision is not Precision.FLOAT32)
    answer = compile_for_cpu(graph, 2, precision)([pixels])
    return answer[0], answer[1]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_map_of_the_forward_pass_is_grad_cam(pixels: NDArray[np.uint8]) -> None:
    """Gradients of the logit at `block14_sepconv2_act`, averaged over each map, weigh the maps (Selvaraju 2017)."""
    import keras
    import tensorflow as tf

    arrays, crops = network_arrays(), pixels[:3]
    model = build_keras_model(arrays)
    both = keras.Model(model.input, [model.get_layer(LAYER_NAME).output, model.output])
    with tf.GradientTape() as tape:
        maps, logits = both(scale_pixels(crops))
        gradients = tape.gradient(logits, maps)
    weighted = tf.reduce_sum(maps * tf.reduce_mean(gradients, axis=(1, 2), keepdims=True), axis=-1)
    expected = heat_maps(weighted.numpy())
    ours = heat_maps(run(arrays, crops, Precision.FLOAT32)[1])
    assert expected.max(axis=(1, 2)).tolist() == [1.0, 1.0, 1.0]
    assert np.ptp(expected, axis=(1, 2)).min() > 0.5, "a flat map proves nothing"
    assert np.abs(ours - expected).max() <= 1e-3
