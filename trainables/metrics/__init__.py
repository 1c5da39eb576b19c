"""COCO and Dice metrics."""
