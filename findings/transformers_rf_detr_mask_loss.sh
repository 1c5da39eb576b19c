#!/usr/bin/env bash
# transformers 5.24.0: the loss of RF-DETR's instance segmentation, without objects and in its matching.
#
# Guess before running (2026-11-29): (1) a batch without a single object has a loss, that of its classes, as for RF-DETR's boxes. (2) Masks
# are matched at one point for each `mask_point_sample_ratio` (16) pixels of a mask, as the setting says.
#
# Seen: (1) the loss is an empty tensor of shape (0, height, width): the terms of masks have the shape of no mask, and the sum takes it on.
# `loss.backward()` then raises. (2) The number of points comes from the shape of the boxes, (images * queries, 4): it grows with the
# batch, not with the mask. 2 images of 8 queries give 4 points for masks of 16 by 16 and of 64 by 64 pixels, where 16 and 256 were
# expected; with fewer than 4 queries in a batch there is none, and the cost of masks is not a number.
#
# For users: adaptertune takes the loss of the classes for (1), see `with_empty_batches` in trainables/tasks/own_loss.py. It leaves (2) as
# it is, since losses are to equal those of transformers; the 100 and more queries of a published checkpoint give 25 points an image.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.24.0 numpy==2.4.1 scipy==1.17.1
"$scratch/venv/bin/python" -W ignore - <<'PY'
import torch
from transformers.loss import loss_rf_detr as module

QUERIES, IMAGES = 8, 2


class Config:
    class_cost = bbox_cost = giou_cost = 1.0
    mask_point_sample_ratio, num_labels, focal_alpha, group_detr, auxiliary_loss = 16, 3, 0.25, 1, False
    class_loss_coefficient = bbox_loss_coefficient = giou_loss_coefficient = 1.0
    mask_class_loss_coefficient = mask_dice_loss_coefficient = 1.0


def loss(objects, side):
    torch.manual_seed(0)
    logits, boxes = torch.randn(IMAGES, QUERIES, 3), torch.rand(IMAGES, QUERIES, 4) * 0.3 + 0.2
    masks = torch.randn(IMAGES, QUERIES, side, side)
    label = {
        "class_labels": torch.zeros(objects, dtype=torch.long),
        "boxes": torch.rand(objects, 4) * 0.3 + 0.2,
        "masks": torch.ones(objects, 4 * side, 4 * side),
    }
    given = {"logits": logits, "pred_boxes": boxes, "pred_masks": masks}
    first = {"enc_outputs_class": logits, "enc_outputs_coord": boxes, "enc_outputs_masks": masks}
    return module.RfDetrForSegmentationLoss(
        **given, **first, labels=[label] * IMAGES, device=torch.device("cpu"), config=Config
    )[0]


empty = loss(0, 16)
print("the loss of images without objects has the shape", tuple(empty.shape))
assert tuple(empty.shape) == (0, 16, 16)

points = []
plain = module.pair_wise_dice_loss
module.pair_wise_dice_loss = lambda inputs, labels: points.append(inputs.shape[1]) or plain(inputs, labels)
for side in (16, 64):
    loss(1, side)
print("points at which masks of 16 and 64 pixels a side are matched:", points)
assert set(points) == {IMAGES * QUERIES * 4 // 16}
PY
echo "as stated"
