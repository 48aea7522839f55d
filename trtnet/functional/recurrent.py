"""Recurrent networks: one step of each kind, and whole sequences, by torch's names and arguments.

What does not depend on the step before is done for all steps at once: the product of the inputs with their weights. The
steps are a loop of the network (`scan`), or each has layers of its own.
Formulas: torch.nn.RNN, LSTM and GRU; projections as in https://arxiv.org/abs/1402.1128.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..basics import dtypes
from ..basics.dims import SizeLike, format_shape
from ..basics.errors import ArgumentError, DtypeError, ShapeError
from ..graph.tensor import Tensor
from ..graph.training import Mode
from ..layers.base import require_shape
from .activation import relu, sigmoid, tanh
from .arithmetic import add, mul, sub
from .comparison import lt, where
from .control import scan
from .creation import arange
from .dropout import dropout as dropped
from .joining import cat, chunk, stack
from .linear import linear
from .picking import unbind
from .shape import unsqueeze

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell"]

State = tuple[Tensor, ...]
"""What goes from step to step: the hidden state, and an LSTM's cell state."""


class _Weights(NamedTuple):
    """The parameters of one layer in one direction."""

    input: Tensor
    hidden: Tensor
    input_bias: Tensor | None = None
    hidden_bias: Tensor | None = None
    projection: Tensor | None = None


class _Kind(NamedTuple):
    """A kind of recurrent network.

    Attributes:
        step: the next state, of what `_projected` gave for the step, the state and the weights.
        states: how many tensors a state is.
        gates: how many rows of the weights there are for each hidden feature.
        apart: whether the hidden bias is multiplied by a gate, and so no part of what is done for all steps at once.
    """

    step: Callable[[Tensor, State, _Weights], State]
    states: int
    gates: int
    apart: bool = False


def _tanh_step(x: Tensor, state: State, weights: _Weights) -> State:
    return (tanh(add(x, linear(state[0], weights.hidden))),)


def _relu_step(x: Tensor, state: State, weights: _Weights) -> State:
    return (relu(add(x, linear(state[0], weights.hidden))),)


def _gru_step(x: Tensor, state: State, weights: _Weights) -> State:
    reset, update, new = chunk(x, 3, -1)
    hidden = chunk(linear(state[0], weights.hidden, weights.hidden_bias), 3, -1)
    update = sigmoid(add(update, hidden[1]))
    new = tanh(add(new, mul(sigmoid(add(reset, hidden[0])), hidden[2])))
    return (add(new, mul(update, sub(state[0], new))),)


def _lstm_step(x: Tensor, state: State, weights: _Weights) -> State:
    enter, forget, new, output = chunk(add(x, linear(state[0], weights.hidden)), 4, -1)
    cell = add(mul(sigmoid(forget), state[1]), mul(sigmoid(enter), tanh(new)))
    hidden = mul(sigmoid(output), tanh(cell))
    return (hidden if weights.projection is None else linear(hidden, weights.projection)), cell


_TANH = _Kind(_tanh_step, 1, 1)
_RELU = _Kind(_relu_step, 1, 1)
_GRU = _Kind(_gru_step, 1, 3, apart=True)
_LSTM = _Kind(_lstm_step, 2, 4)


def _projected(kind: _Kind, x: Tensor, weights: _Weights) -> Tensor:
    """What the inputs of all steps give the gates."""
    made = linear(x, weights.input, weights.input_bias)
    return made if kind.apart or weights.hidden_bias is None else add(made, weights.hidden_bias)


def _cell(name: str, kind: _Kind, input: Tensor, state: State, weights: _Weights) -> State:
    if input.ndim != 2:
        raise ShapeError(f"{name} takes one step of a batch", expected="(N, features)", found=format_shape(input.shape))
    return kind.step(_projected(kind, input, weights), state, weights)


def rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """tanh(input w_ih^T + b_ih + hx w_hh^T + b_hh), the next hidden state (N, H).

    Args:
        input: (N, I).
        hx: the hidden state, (N, H).
        w_ih, w_hh: (H, I) and (H, H).
        b_ih, b_hh: (H,), both or neither.

    >>> x, h, w = trtnet.tensor([[1.0]]), trtnet.tensor([[1.0]]), trtnet.tensor([[0.5]])
    >>> trtnet.rnn_tanh_cell(x, h, w, w).numpy().round(3).tolist()
    [[0.7620000243186951]]
    """
    return _cell("rnn_tanh_cell", _TANH, input, (hx,), _Weights(w_ih, w_hh, b_ih, b_hh))[0]


def rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """As rnn_tanh_cell, with max(0, x) for tanh(x).

    >>> x, h, w = trtnet.tensor([[1.0]]), trtnet.tensor([[1.0]]), trtnet.tensor([[0.5]])
    >>> trtnet.rnn_relu_cell(x, h, w, w).tolist()
    [[1.0]]
    """
    return _cell("rnn_relu_cell", _RELU, input, (hx,), _Weights(w_ih, w_hh, b_ih, b_hh))[0]


def gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """The next hidden state (N, H) of a gated recurrent unit, n + z * (hx - n), where
    n = tanh(W_in x + b_in + r * (W_hn hx + b_hn)) and r, z = sigmoid(W_i x + b_i + W_h hx + b_h).

    Args:
        input: (N, I).
        hx: the hidden state, (N, H).
        w_ih, w_hh: (3 H, I) and (3 H, H); rows for r, z, n.
        b_ih, b_hh: (3 H,), both or neither.

    >>> x, h, w = trtnet.tensor([[1.0]]), trtnet.tensor([[1.0]]), trtnet.tensor([[0.0], [0.0], [0.0]])
    >>> trtnet.gru_cell(x, h, w, w).tolist()
    [[0.5]]
    """
    return _cell("gru_cell", _GRU, input, (hx,), _Weights(w_ih, w_hh, b_ih, b_hh))[0]


def lstm_cell(
    input: Tensor,
    hx: Sequence[Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The next hidden and cell state of a long short-term memory, (N, H) each: c' = f * c + i * g, h' = o * tanh(c'),
    where i, f, g, o = W_i x + b_i + W_h h + b_h, of g its tanh and of the others their sigmoid.

    Args:
        input: (N, I).
        hx: the hidden state and the cell state, (N, H) each.
        w_ih, w_hh: (4 H, I) and (4 H, H); rows for i, f, g, o.
        b_ih, b_hh: (4 H,), both or neither.

    >>> x, h, w = trtnet.tensor([[1.0]]), trtnet.tensor([[1.0]]), trtnet.zeros(4, 1)
    >>> [state.numpy().round(3).tolist() for state in trtnet.lstm_cell(x, (h, h), w, w)]
    [[[0.23100000619888306]], [[0.5]]]
    """
    hidden, cell = _cell("lstm_cell", _LSTM, input, tuple(hx), _Weights(w_ih, w_hh, b_ih, b_hh))
    return hidden, cell


# --- whole sequences --------------------------------------------------------------------------------------------------

UNROLLED = 2
"""Up to so many steps, where their number is known, each has layers of its own. From 4 on they take longer than a loop:
to compile (benchmarks/recurrent.py), and on a GPU (an LSTM in benchmarks/results/h200-tensorrt8.6.json), in a CUDA
graph too."""


def _steps(
    step: Callable[[Any, State], State], xs: tuple[Tensor, ...], state: State, dim: int, reverse: bool, unroll: bool
) -> tuple[Tensor, State]:
    """The hidden states of all steps, along `dim`, and the last state."""
    if not unroll:

        def body(state: State, parts: Any) -> tuple[State, Tensor]:
            following = step(parts, state)
            return following, following[0]

        last, made = scan(body, state, xs, dim=dim, reverse=reverse)
        return made, last
    parts = list(zip(*(unbind(x, dim) for x in xs)))
    hidden: list[Tensor] = []
    for part in reversed(parts) if reverse else parts:
        state = step(part, state)
        hidden.append(state[0])
    return stack(hidden[::-1] if reverse else hidden, dim), state


class _Sequences(NamedTuple):
    """What concerns all layers and directions alike.

    Attributes:
        dim: the dimension of the steps, 0 or 1; the batch is the other.
        unroll: whether each step has layers of its own.
        inside: whether a step lies before the end of its sequence, (L, N, 1) or (N, L, 1); None where all do.
    """

    kind: _Kind
    dim: int
    unroll: bool
    inside: Tensor | None

    def run(self, x: Tensor, state: State, weights: _Weights, reverse: bool) -> tuple[Tensor, State]:
        """One layer in one direction. A state beyond the end of a sequence stays as it is; backwards it is then still
        the initial one where the sequence begins from its end."""
        projected, how = _projected(self.kind, x, weights), (self.dim, reverse, self.unroll)
        if self.inside is None:
            return _steps(lambda x, s: self.kind.step(x[0], s, weights), (projected,), state, *how)

        def step(x: tuple[Tensor, Tensor], state: State) -> State:
            following = self.kind.step(x[0], state, weights)
            return tuple(where(x[1], new, old) for new, old in zip(following, state))

        made, last = _steps(step, (projected, self.inside), state, *how)
        return where(self.inside, made, 0.0), last


def _unrolled(unroll: bool | None, length: SizeLike) -> bool:
    if isinstance(length, int):
        return length <= UNROLLED if unroll is None else unroll
    if unroll:
        raise ShapeError(
            "steps have layers of their own only where it is known how many they are",
            expected="a number of steps",
            found=length,
            remedy="leave unroll None: the steps are then a loop",
        )
    return False


def inside(lengths: Tensor, length: SizeLike, batch: SizeLike, dim: int) -> Tensor:
    """Whether a step lies before the end of its sequence: (L, N, 1), or (N, L, 1) where `dim`, the steps', is 1."""
    if lengths.ndim != 1 or lengths.dtype not in (dtypes.int32, dtypes.int64):
        error = DtypeError if lengths.ndim == 1 else ShapeError
        raise error(
            "lengths has the number of steps of each sequence",
            expected="(N,) of int32 or int64",
            found=f"{format_shape(lengths.shape)} of {lengths.dtype}",
        )
    require_sizes("lengths", lengths.shape, (batch,))
    steps = arange(length, dtype=lengths.dtype)
    return unsqueeze(lt(unsqueeze(steps, 1 - dim), unsqueeze(lengths, dim)), -1)


def require_sizes(name: str, shape: Sequence[SizeLike], expected: Sequence[SizeLike]) -> None:
    """Raises ShapeError where `name` is not of the shape; where that depends on Dims it is checked at each call."""
    problem = f"{name} is of another shape than the input and the weights ask for"
    kept = f"{problem}: {format_shape(shape)}, not {format_shape(expected)}"
    require_shape(shape, expected, problem, kept=kept)


def _layers(params: Sequence[Tensor], has_biases: bool, count: int) -> list[_Weights]:
    """The parameters of each layer and direction."""
    each = 4 if has_biases else 2
    if len(params) == (each + 1) * count:
        each += 1
    if len(params) != each * count:
        raise ArgumentError(
            "there must be as many parameters for each layer and direction",
            expected=f"{each * count}, or {(each + 1) * count} with projections",
            found=len(params),
        )
    groups = [list(params[i : i + each]) for i in range(0, len(params), each)]
    missing = [] if has_biases else [None, None]
    return [_Weights(*group[:2], *missing, *group[2:]) for group in groups]


def _run(
    name: str,
    kind: _Kind,
    input: Tensor,
    hx: Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool | Mode,
    bidirectional: bool,
    batch_first: bool,
    lengths: Tensor | None,
    unroll: bool | None,
) -> tuple[Tensor, ...]:
    """The hidden states of the last layer, and the last states of all layers and directions."""
    if input.ndim != 3:
        raise ShapeError(f"{name} takes a batch of sequences", expected="three dimensions", found=input.shape)
    dim, directions = int(bool(batch_first)), 2 if bidirectional else 1
    length, batch = input.shape[dim], input.shape[1 - dim]
    if length == 0:
        raise ShapeError(f"{name} takes one step or more", found=format_shape(input.shape))
    layers = _layers(params, has_biases, num_layers * directions)
    for index, states in enumerate(hx):
        projection = layers[0].projection if index == 0 else None
        size = layers[0].hidden.shape[0] // kind.gates if projection is None else projection.shape[0]
        require_sizes(("the hidden state", "the cell state")[index], states.shape, (len(layers), batch, size))
    kept = None if lengths is None else inside(lengths, length, batch, dim)
    over = _Sequences(kind, dim, _unrolled(unroll, length), kept)
    first = list(zip(*(unbind(states, 0) for states in hx)))
    last: list[State] = []
    x = input
    for layer in range(num_layers):
        if layer and dropout:
            x = dropped(x, dropout, train)
        made: list[Tensor] = []
        for direction in range(directions):
            index = layer * directions + direction
            hidden, state = over.run(x, first[index], layers[index], bool(direction))
            made.append(hidden)
            last.append(state)
        x = cat(made, -1) if bidirectional else made[0]
    return (x, *(stack(states, 0) for states in zip(*last)))


def rnn_tanh(
    input: Tensor,
    hx: Tensor,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool | Mode,
    bidirectional: bool,
    batch_first: bool,
    *,
    lengths: Tensor | None = None,
    unroll: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """What nn.RNN computes: the hidden states of the last layer at each step, and the last ones of each layer.

    Args:
        input: (L, N, I), or (N, L, I) with batch_first.
        hx: the initial hidden states, (D num_layers, N, H); D is 2 if bidirectional, else 1.
        params: for each layer and direction w_ih, w_hh, and b_ih, b_hh if has_biases.
        dropout: the probability with which `to_torch` drops between layers, in training.
        train: False, or `self.training`.
        lengths: the number of steps of each sequence, (N,) of int32 or int64; None where all have L. Beyond it the
            result is 0, and the last states are those at it.
        unroll: whether each step has layers of its own, which takes a fixed L, or the steps are a loop; None unrolls up
            to 8.

    >>> x, h, w = trtnet.ones(2, 1, 1), trtnet.zeros(1, 1, 1), trtnet.tensor([[0.5]])
    >>> output, last = trtnet.rnn_tanh(x, h, [w, w], False, 1, 0.0, False, False, False)
    >>> output.numpy().round(2).ravel().tolist(), last.numpy().round(2).ravel().tolist()
    ([0.46000000834465027, 0.6200000047683716], [0.6200000047683716])
    """
    options = (has_biases, num_layers, dropout, train, bidirectional, batch_first, lengths, unroll)
    output, last = _run("rnn_tanh", _TANH, input, (hx,), params, *options)
    return output, last


def rnn_relu(
    input: Tensor,
    hx: Tensor,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool | Mode,
    bidirectional: bool,
    batch_first: bool,
    *,
    lengths: Tensor | None = None,
    unroll: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """As rnn_tanh, with max(0, x) for tanh(x).

    >>> x, h, w = trtnet.ones(2, 1, 1), trtnet.zeros(1, 1, 1), trtnet.tensor([[0.5]])
    >>> trtnet.rnn_relu(x, h, [w, w], False, 1, 0.0, False, False, False)[0].tolist()
    [[[0.5]], [[0.75]]]
    """
    options = (has_biases, num_layers, dropout, train, bidirectional, batch_first, lengths, unroll)
    output, last = _run("rnn_relu", _RELU, input, (hx,), params, *options)
    return output, last


def gru(
    input: Tensor,
    hx: Tensor,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool | Mode,
    bidirectional: bool,
    batch_first: bool,
    *,
    lengths: Tensor | None = None,
    unroll: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """As rnn_tanh, with the steps of gru_cell.

    >>> x, h, w = trtnet.ones(2, 1, 1), trtnet.ones(1, 1, 1), trtnet.zeros(3, 1)
    >>> trtnet.gru(x, h, [w, w], False, 1, 0.0, False, False, False)[0].tolist()
    [[[0.5]], [[0.25]]]
    """
    options = (has_biases, num_layers, dropout, train, bidirectional, batch_first, lengths, unroll)
    output, last = _run("gru", _GRU, input, (hx,), params, *options)
    return output, last


def lstm(
    input: Tensor,
    hx: Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool | Mode,
    bidirectional: bool,
    batch_first: bool,
    *,
    lengths: Tensor | None = None,
    unroll: bool | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As rnn_tanh, with the steps of lstm_cell; the last hidden and the last cell states.

    Args:
        hx: the initial hidden states (D num_layers, N, H), or (…, P) with projections, and cell states (…, H).
        params: for each layer and direction w_ih, w_hh, b_ih and b_hh if has_biases, and w_hr (P, H) where hidden
            states are projected.

    >>> x, h, w = trtnet.ones(2, 1, 1), trtnet.ones(1, 1, 1), trtnet.zeros(4, 1)
    >>> trtnet.lstm(x, (h, h), [w, w], False, 1, 0.0, False, False, False)[2].tolist()
    [[[0.25]]]
    """
    options = (has_biases, num_layers, dropout, train, bidirectional, batch_first, lengths, unroll)
    output, hidden, cell = _run("lstm", _LSTM, input, tuple(hx), params, *options)
    return output, hidden, cell
