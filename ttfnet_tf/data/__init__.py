"""From COCO files to batches: annotations, images, transforms, the tf.data pipeline, and drawn data to try things on."""
