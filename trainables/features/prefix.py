"""The prefix of a model, its blocks before a given one: what it computes, and the rest of the model after it.

The model's own forward runs in both cases, so nothing of an architecture is copied. To compute a prefix, the
forward is left at its end. To continue from hidden states, the embeddings and the blocks of the prefix
return what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trainables.tasks.stand_in import hidden_behind

Forward = Callable[..., Any]


class NoPrefixError(Exception):
    """The model cannot be divided at a block."""


class _ReachedError(Exception):
    """Leaves a forward where the hidden states are known."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


@dataclass(frozen=True)
class Prefix:
    """The embeddings and the first `block` blocks of a model; names are relative to the model.

    embeddings: the module whose output is the input of block 0.  blocks: all blocks of the model.
    block: the number of blocks in the prefix; that of all blocks is allowed.
    """

    embeddings: str
    blocks: tuple[str, ...]
    block: int

    def compute(self, model: nn.Module, forward: Callable[[], object]) -> Tensor:
        """The hidden states (images, tokens, width) at the end of the prefix, while `forward` runs `model`.

        They are the input of block number `block`; after the last block, its output. Without gradients
        only if the caller disables them.
        """
        try:
            with _replaced(self._leaving(model)):
                forward()
        except _ReachedError as reached:
            return reached.hidden
        raise NoPrefixError("the model does not run its blocks")

    @contextmanager
    def resumed(self, model: nn.Module, hidden: Tensor | None = None) -> Iterator[None]:
        """Within the context, `model` continues from hidden states, whatever its images are.

        hidden: the states for every forward. When absent, each forward takes those that its images stand
        for (see `trainables.tasks.stand_in`), and runs as a whole for real images.
        """
        with _replaced(self._continuing(model, hidden)):
            yield

    def _leaving(self, model: nn.Module) -> dict[nn.Module, Forward]:
        def leave(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
            raise _ReachedError(hidden)

        if self.block < len(self.blocks):
            return {model.get_submodule(self.blocks[self.block]): leave}
        last = model.get_submodule(self.blocks[-1])
        run = last.forward

        def run_and_leave(*args: Any, **kwargs: Any) -> Any:
            raise _ReachedError(run(*args, **kwargs))

        return {last: run_and_leave}

    def _continuing(self, model: nn.Module, given: Tensor | None) -> dict[nn.Module, Forward]:
        current = _Current()
        embeddings = model.get_submodule(self.embeddings)
        blocks = [model.get_submodule(name) for name in self.blocks]
        embed = embeddings.forward

        def embedded(*args: Any, **kwargs: Any) -> Any:
            current.hidden = given if given is not None else _behind(*args, *kwargs.values())
            return embed(*args, **kwargs) if current.hidden is None else current.hidden

        def passing(run: Forward) -> Forward:
            def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
                return run(hidden, *args, **kwargs) if current.hidden is None else hidden

            return forward

        replaced = {embeddings: embedded}
        replaced |= {block: passing(block.forward) for block in blocks[: self.block]}
        # Some models add embeddings between blocks, so the states are put in place here once more.
        if self.block < len(blocks):
            first = blocks[self.block]
            run_first = first.forward

            def begun(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
                return run_first(hidden if current.hidden is None else current.hidden, *args, **kwargs)

            replaced[first] = begun
        else:
            run_last = blocks[-1].forward

            def ended(*args: Any, **kwargs: Any) -> Any:
                return run_last(*args, **kwargs) if current.hidden is None else current.hidden

            replaced[blocks[-1]] = ended
        return replaced


class _Current:
    """The hidden states of the forward that is running; None if it runs as a whole."""

    hidden: Tensor | None = None


def find_embeddings(model: nn.Module, blocks: tuple[str, ...], forward: Callable[[], object]) -> str:
    """The name of the module whose output is the input of block 0, while `forward` runs `model`.

    Raises NoPrefixError if there is no such module, as in a model with a convolutional backbone and a
    projection before its blocks, or in a block that gives more than hidden states.
    """
    outputs: list[tuple[str, Any]] = []
    inside = tuple(f"{block}." for block in blocks)
    first = model.get_submodule(blocks[0])
    run = first.forward

    def enter(hidden: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(hidden, Tensor) or hidden.ndim != 3:
            raise NoPrefixError("block 0 takes something else than hidden states")
        if not isinstance(run(hidden, *args, **kwargs), Tensor):
            raise NoPrefixError("block 0 gives something else than hidden states")
        raise _ReachedError(hidden)

    hooks = [
        module.register_forward_hook(lambda _m, _a, output, name=name: outputs.append((name, output)))
        for name, module in model.named_modules()
        if name and name not in blocks and not name.startswith(inside)
    ]
    try:
        with _replaced({first: enter}):
            forward()
    except _ReachedError as reached:
        names = [name for name, output in outputs if output is reached.hidden]
        if names:
            return names[-1]  # the outermost ends last
        raise NoPrefixError("the input of block 0 is not the output of one module") from None
    finally:
        for hook in hooks:
            hook.remove()
    raise NoPrefixError("the model does not run its block 0")


def _behind(*values: Any) -> Tensor | None:
    return next((hidden for value in values if (hidden := hidden_behind(value)) is not None), None)


@contextmanager
def _replaced(forwards: dict[nn.Module, Forward]) -> Iterator[None]:
    """Replace the modules' forward methods for a while; modules, their names and their hooks stay."""
    before = {module: module.__dict__.get("forward") for module in forwards}
    for module, forward in forwards.items():
        module.__dict__["forward"] = forward
    try:
        yield
    finally:
        for module, own in before.items():
            if own is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own
