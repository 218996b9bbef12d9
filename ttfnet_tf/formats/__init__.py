"""Annotations of other programs: Pascal VOC, YOLO and CSV to COCO, and anything to YOLO. `convert.convert` is the way in."""
