"""Networks in training: judged, pretrained, or kept to embed with.

Knows nothing of matching; may import networks, data, images and devices.
"""
