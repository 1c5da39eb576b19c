"""Detection and segmentation: model, loss and figures."""
