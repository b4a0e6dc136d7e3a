"""Every stage equals the original program's numbers."""

import json

import numpy as np
import pytest
import tensorflow as tf

import golden
from blitznet import inference, keys, monitor
from blitznet.boxes import xywh_to_yxyx, yxyx_to_xywh
from blitznet.coding import PriorCoder
from blitznet.losses.detection import detection_loss
from blitznet.losses.segmentation import segmentation_loss
from blitznet.models.blitznet import source_sides
from blitznet.postprocess.detection import detections
from blitznet.postprocess.settings import DetectionSettings
from blitznet.priors import prior_boxes, prior_scales

ENCODING_CASES = ("2007_000032", "2007_000121", "2007_000250", "2007_001311", "crowded")


def coder_of(sides, x4):
    return PriorCoder(prior_boxes(sides, prior_scales(300, x4)))


@pytest.fixture(
    scope="module",
    params=["b300x4", "b300", "b300x4 for inference", "b300 for inference"],
)
def network(request):
    """`(configuration, its prior boxes' coder, its outputs on the golden picture)`.

    Of the network as it is trained, and as it is rebuilt for inference.
    """
    name, _, rebuilt = request.param.partition(" ")
    model = golden.golden_model(name)
    if rebuilt:
        model, _ = inference.build(model, golden.CONFIGURATIONS[name])
    outputs = tf.function(lambda images: model(images, training=False))(golden.image())
    coder = coder_of(source_sides(model), name == "b300x4")
    return name, coder, outputs


@pytest.fixture(scope="module")
def coder_x4():
    return coder_of((75, 38, 19, 10, 5, 3, 1), True)


@pytest.mark.slow
def test_outputs(network):
    """Within 1e-4 of the standard deviation; the issue asks for 2e-3."""
    name, _, outputs = network
    expected = golden.load(f"outputs_{name}.npz")
    for key in (keys.CONFIDENCE, keys.LOCATION):
        values = outputs[key][0].numpy()
        tolerance = 1e-4 * expected[f"{key}_std"]
        np.testing.assert_allclose(values[expected["rows"]], expected[key], rtol=0, atol=tolerance)
        assert values.mean() == pytest.approx(float(expected[f"{key}_mean"]), abs=tolerance)
        assert values.std() == pytest.approx(float(expected[f"{key}_std"]), rel=1e-4)
    logits = outputs[keys.SEGMENTATION][0].numpy()
    tolerance = 1e-4 * float(logits.std())
    np.testing.assert_allclose(logits[::3, ::3], expected["segmentation"], rtol=0, atol=tolerance)
    assert logits.mean() == pytest.approx(float(expected["segmentation_mean"]), abs=tolerance)


@pytest.mark.slow
def test_prior_boxes(network):
    name, coder, _ = network
    expected = golden.load(f"outputs_{name}.npz")
    np.testing.assert_array_equal(coder.priors.numpy()[expected["rows"]], expected["priors"])


@pytest.mark.slow
@pytest.mark.parametrize("network", ["b300x4", "b300x4 for inference"], indirect=True)
def test_detections(network):
    _, coder, outputs = network
    expected = golden.load("detections_b300x4.npz")
    found = detections(outputs[keys.CONFIDENCE], outputs[keys.LOCATION], coder, DetectionSettings())
    assert found[keys.NUM_DETECTIONS].numpy().tolist() == [200]
    np.testing.assert_array_equal(found[keys.DETECTION_CLASSES][0], expected["classes"])
    np.testing.assert_allclose(
        found[keys.DETECTION_SCORES][0], expected["scores"], rtol=0, atol=1e-4
    )
    boxes = yxyx_to_xywh(found[keys.DETECTION_BOXES][0])
    np.testing.assert_allclose(boxes, expected["boxes_xywh"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ENCODING_CASES)
def test_matching_and_offsets(case, coder_x4):
    expected = {
        name.split("/")[1]: value
        for name, value in golden.load("encoding_b300x4.npz").items()
        if name.startswith(f"{case}/")
    }
    boxes = xywh_to_yxyx(tf.constant(expected["boxes"]))
    labels, offsets = coder_x4.encode(boxes, tf.constant(expected["classes"]))
    positive = np.flatnonzero(labels.numpy())
    np.testing.assert_array_equal(positive, expected["positive"])
    np.testing.assert_array_equal(labels.numpy()[positive], expected["matched_classes"])
    np.testing.assert_allclose(offsets.numpy()[positive], expected["offsets"], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def losses_inputs():
    """`(location, confidence, logits, labels, prior labels, prior offsets)` of golden losses."""
    coder = coder_of((38, 19, 10, 5, 3, 1), False)
    *tensors, boxes = golden.losses_batch(len(coder.priors))
    targets = [
        coder.encode(
            xywh_to_yxyx(tf.reshape(tf.constant(xywh, tf.float32), [-1, 4])),
            tf.constant(classes, tf.int32),
        )
        for xywh, classes in boxes
    ]
    prior_labels, prior_offsets = (tf.stack(column) for column in zip(*targets))
    return (*tensors, prior_labels, prior_offsets)


def expected_losses(case):
    return json.loads((golden.FIXTURES / "losses_b300.json").read_text())[case]


@pytest.mark.parametrize("case", ["batch", "no_positives"])
def test_losses(case, losses_inputs):
    location, confidence, logits, labels, prior_labels, prior_offsets = losses_inputs
    if case == "no_positives":
        prior_labels = tf.zeros_like(prior_labels)
    expected = expected_losses(case)
    found = {
        **detection_loss(confidence, location, prior_labels, prior_offsets),
        **segmentation_loss(logits, labels),
    }
    assert float(found[keys.LOSS_CLASS]) == pytest.approx(expected["loss/class"], rel=1e-4)
    assert float(found[keys.LOSS_BOX]) == pytest.approx(expected["loss/bbox"], rel=1e-4)
    segmentation = float(found[keys.LOSS_SEGMENTATION])
    assert segmentation == pytest.approx(expected["loss/segmentation"], rel=1e-4)


def test_precision_and_recall(losses_inputs):
    _, confidence, _, _, prior_labels, _ = losses_inputs
    expected = expected_losses("batch")
    predicted = PriorCoder(np.zeros((1, 4))).best_class(confidence)
    found = monitor.scores(monitor.prior_counts(predicted, prior_labels))
    precision, recall = expected["metrics/train/precision"], expected["metrics/train/recall"]
    assert float(found["precision"]) == pytest.approx(precision, rel=1e-4)
    assert float(found["recall"]) == pytest.approx(recall, rel=1e-4)
    assert float(found["accuracy"]) == expected["accuracy/train"]
    # The original counts three negatives for each positive into its batch size.
    assert 3 * float(found["positives"]) == pytest.approx(expected["batch/size"] / 4)
