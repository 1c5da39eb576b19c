"""Counts the multiplications of a trial's model, a cost that does not depend on the machine."""

from __future__ import annotations

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainables.data.loader import batch_of
from trainables.data.prepared import PreparedSplit
from trainables.tasks.base import TaskModel
from trainables.training.state import TrialState
from trainables.training.undisturbed import undisturbed


def count_macs(task: TaskModel, images: PreparedSplit, state: TrialState) -> int:
    """Multiplications with an addition of a forward pass over the first of `images`, resized as in training.

    Counted are the products of matrices and convolutions, with the adapter in place as it trains. Attention
    is computed as plain products meanwhile: of the fused kernels, which differ between devices, not all are
    counted. Random generators and the model's mode are left as they were.
    """
    counter = FlopCounterMode(display=False)
    with undisturbed(state) as device, sdpa_kernel(SDPBackend.MATH), counter:
        task.outputs(state.model, batch_of(images, [0]).to(device))
    return int(counter.get_total_flops()) // 2
