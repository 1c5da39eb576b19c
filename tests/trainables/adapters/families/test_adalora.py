from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from peft import AdaLoraConfig, AdaLoraModel
from torch import Tensor, nn

from trainables.adapters.families.adalora import RankAllocation
from trainables.adapters.inject import inject_adapter
from trainables.adapters.layout import layout_of
from trainables.adapters.rules import adalora_steps
from trainables.errors import AdapterError
from trainables.specs.adapters import AdaloraSpec

STEPS = 30


def run(model: nn.Module, images: Tensor, config, steps: int = STEPS) -> list[dict[str, int]]:
    torch.manual_seed(3)
    adapted = inject_adapter(model, config, layout_of(model), total_steps=steps)
    own = [p for n, p in model.named_parameters() if n in adapted.parameter_names()]
    optimizer = torch.optim.AdamW(own, lr=0.02)
    ranks = [adapted.ranks()]
    target = torch.randn(2, 17, 32)
    for step in range(1, steps + 1):
        (model(images).last_hidden_state - target).square().mean().backward()
        penalty = adapted.penalty()
        assert penalty is not None
        penalty.backward()
        optimizer.step()
        adapted.after_step(step)
        optimizer.zero_grad()
        ranks.append(adapted.ranks())
    return ranks


def test_ranks_shrink_to_the_target(pristine_vit, clone, images: Tensor, trial) -> None:
    config = trial(adapter="adalora", adalora={"init_rank": 6, "target_rank": 2, "interval": 2})
    model = clone(pristine_vit).train()
    ranks = run(model, images, config)
    totals = [sum(r.values()) for r in ranks]
    assert totals[0] == 4 * 6
    assert totals[-1] == 4 * 2
    assert totals == sorted(totals, reverse=True)
    assert 4 * 2 < totals[8] < 4 * 6
    assert len(set(ranks[-1].values())) > 1, "ranks moved to where they matter"
    # Masked ranks are also zero in the weights, so the reported rank is the rank of the update.
    for name, rank in ranks[-1].items():
        assert int(model.get_submodule(name).lora_E["default"].count_nonzero()) == rank


def test_equal_ranks_never_mask(pristine_vit, clone, images: Tensor, trial) -> None:
    config = trial(adapter="adalora", adalora={"init_rank": 3, "target_rank": 3})
    ranks = run(clone(pristine_vit), images, config, steps=3)
    assert ranks[0] == ranks[-1]


def test_a_trial_without_steps_can_be_built(pristine_vit, clone, trial) -> None:
    model = clone(pristine_vit)
    inject_adapter(model, trial(adapter="adalora"), layout_of(model), total_steps=0)


def test_penalty_is_what_peft_adds_to_the_loss() -> None:
    class Lossy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 4), nn.Linear(4, 6)

        def forward(self, x: Tensor) -> SimpleNamespace:
            return SimpleNamespace(loss=self.second(self.first(x)).square().mean())

    model = Lossy()
    x = torch.randn(3, 6)
    plain = copy.deepcopy(model)(x).loss
    config = AdaLoraConfig(
        init_r=3, target_r=1, total_step=10, orth_reg_weight=0.7, target_modules=["first", "second"]
    )
    tuner = AdaLoraModel(model, config, "default")
    penalty = RankAllocation(tuner).penalty()
    assert penalty is not None
    torch.testing.assert_close(tuner(x).loss, plain + penalty)


def test_no_weight_no_penalty(pristine_vit, clone, trial) -> None:
    model = clone(pristine_vit)
    config = trial(adapter="adalora", adalora={"orthogonal_weight": 0.0})
    assert inject_adapter(model, config, layout_of(model), total_steps=9).penalty() is None


@pytest.mark.parametrize(("total", "tinit", "tfinal"), [(100, 10, 30), (7, 0, 2), (2, 0, 0)])
def test_shares_become_steps(total: int, tinit: int, tfinal: int) -> None:
    steps = adalora_steps(AdaloraSpec(tinit=0.1, tfinal=0.3), total)
    assert (steps.total, steps.tinit, steps.tfinal) == (total, tinit, tfinal)


def test_too_few_steps_say_so() -> None:
    with pytest.raises(AdapterError, match=r"of this trial's 1 step, tinit 0.1 and tfinal 0.3 leave 1"):
        adalora_steps(AdaloraSpec(), 1)
