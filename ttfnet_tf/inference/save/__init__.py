"""What `ttfnet predict --save` and `--crops` write beside the drawings and detections.json."""
