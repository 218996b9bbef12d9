"""Detection on video files and cameras: frames from `source`, through `annotate`, to `writer`, each in its own thread."""
