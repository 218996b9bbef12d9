"""Third-party weights: reading and writing files, downloading, matching names, and loading into a model."""
