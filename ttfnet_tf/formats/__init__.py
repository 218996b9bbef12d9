"""Conversion of annotations: Pascal VOC, YOLO and CSV to COCO, and everything to YOLO. Start at `convert.convert`."""
