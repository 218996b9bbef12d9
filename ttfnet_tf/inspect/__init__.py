"""Look at targets, augmentation and predictions: drawings over images, statistics, the AP that the targets allow."""
