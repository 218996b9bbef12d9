"""Detectors on one backbone and neck: TTFNet and CenterNet. `catalog` names them, `base` says what a method is."""
