"""COCO and Dice figures."""
