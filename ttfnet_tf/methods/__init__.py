"""What makes a detector of a network: targets, losses, decoding."""
