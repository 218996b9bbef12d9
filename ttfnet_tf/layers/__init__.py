"""Keras layers that the networks are made of."""
