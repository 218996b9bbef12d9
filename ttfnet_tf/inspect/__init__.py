"""What targets, augmentation and predictions look like."""
