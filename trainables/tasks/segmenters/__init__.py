"""The kinds of segmenters: a ViT under our own head, and models with heads and losses of their own."""
