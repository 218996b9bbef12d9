"""The networks: backbones, neck and what they cost."""
