"""From COCO files to batches: annotations, pictures, transforms, the tf.data pipeline, and drawn data to try things on."""
