"""Annotations of other programs to COCO, and everything to YOLO. Start at `convert.convert`."""
