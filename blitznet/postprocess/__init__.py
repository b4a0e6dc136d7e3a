"""From raw network outputs to detections and class maps."""
