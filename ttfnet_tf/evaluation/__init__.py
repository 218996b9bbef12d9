"""COCO figures of detections over a data set."""
