"""Mean and standard deviation of ImageNet's pixels, by which every image is normalised inside the network."""

MEAN = (123.675, 116.28, 103.53)  # R, G, B of 0..255
STD = (58.395, 57.12, 57.375)
PADDING = (124, 116, 104)  # the mean as bytes: the colour around images that keep their ratio
