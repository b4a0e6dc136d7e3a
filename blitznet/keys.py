"""Names of every dictionary entry that crosses a module border.

An *example* is one picture with its ground truth; a *target* is what the losses
compare the network with; boxes are float32 `[N, 4]` normalised `ymin, xmin, ymax, xmax`.
"""

# Examples: NumPy on the way from disk, tensors in the input pipeline.
FILENAME = "filename"
HEIGHT = "height"
WIDTH = "width"
ENCODED_IMAGE = "encoded_image"
ENCODED_MASK = "encoded_mask"
IMAGE = "image"
MASK = "mask"
HAS_MASK = "has_mask"
BOXES = "boxes"
LABELS = "labels"
DIFFICULT = "difficult"
IS_CROWD = "is_crowd"
AREA = "area"
SOURCE_ID = "source_id"
EMPTY_BOXES = "empty_boxes"
CLASS_LABEL = "class_label"

# Model outputs.
CONFIDENCE = "confidence"
LOCATION = "location"
SEGMENTATION = "segmentation"
CLASS_LOGITS = "class_logits"

# Targets.
PRIOR_LABELS = "prior_labels"
PRIOR_OFFSETS = "prior_offsets"

# Losses.
LOSS_CLASS = "class"
LOSS_BOX = "box"
LOSS_SEGMENTATION = "segmentation"
LOSS_CLASSIFICATION = "classification"
LOSS_WEIGHT_DECAY = "weight_decay"
LOSS_TOTAL = "total"

# Detections and class maps, as the exported model answers them.
DETECTION_BOXES = "detection_boxes"
DETECTION_SCORES = "detection_scores"
DETECTION_CLASSES = "detection_classes"
NUM_DETECTIONS = "num_detections"
SEMANTIC_CLASSES = "semantic_classes"
# Where pictures keep their sizes: height and width of the part of a class map that is a picture's.
SEMANTIC_SIZES = "semantic_sizes"
