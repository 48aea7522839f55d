"""Recurrent networks and their cells."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..basics.dims import format_shape
from ..basics.dtypes import DtypeLike
from ..basics.errors import ArgumentError, ShapeError
from ..functional.creation import zeros
from ..functional.recurrent import (
    gru,
    gru_cell,
    lstm,
    lstm_cell,
    require_sizes,
    rnn_relu,
    rnn_relu_cell,
    rnn_tanh,
    rnn_tanh_cell,
)
from ..functional.shape import squeeze, unsqueeze
from ..graph.tensor import DeviceLike, Parameter, Tensor
from . import init
from .module import Module
from .utils.rnn import PackedSequence

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}
_SEQUENCES = {"RNN_TANH": rnn_tanh, "RNN_RELU": rnn_relu, "GRU": gru}


def _nonlinear(nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError("there is no such nonlinearity", expected="'tanh' or 'relu'", found=nonlinearity)
    return nonlinearity


def _draw(module: Module, hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size)
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size <= 0:
            raise ArgumentError(f"{name} must be greater than 0", expected="1 or more", found=size)


class RNNBase(Module):
    """What RNN, LSTM and GRU have in common: parameters, and how they are called.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "GRU" or "LSTM".
        input_size: I, the features of a step.
        hidden_size: H, the features of a hidden state.
        num_layers: how many layers; each takes the hidden states of the one before.
        bias: whether there are biases.
        batch_first: whether arrays are (N, L, I) and not (L, N, I).
        dropout: the probability with which hidden states are dropped between layers where `to_torch(graph)` is trained.
        bidirectional: whether each layer runs backwards too; D is then 2, else 1.
        proj_size: P, the features of a projected hidden state, of an LSTM; 0 for none.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Attributes:
        unroll: None, to be set before recording: True gives each step layers of its own, which takes a fixed L, False
            makes the steps a loop of the network; where it is None, up to 2 steps are unrolled.

    Parameters: of each layer k weight_ih_l{k} (gates H, I or D H), weight_hh_l{k} (gates H, H), bias_ih_l{k} and
        bias_hh_l{k} (gates H,), with projections weight_hr_l{k} (P, H); and the same with `_reverse`. Drawn as torch's,
        uniformly below 1 / sqrt(hidden_size).

    >>> nn.RNNBase("GRU", 4, 8, bidirectional=True).weight_hh_l0_reverse.shape
    Size([24, 8])
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__()
        if mode not in _GATES:
            raise ArgumentError("there is no such recurrent network", expected=", ".join(_GATES), found=mode)
        _positive(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= dropout <= 1:
            raise ArgumentError("a dropout probability is between 0 and 1", expected="0 to 1", found=dropout)
        if dropout and num_layers == 1:
            warnings.warn(f"dropout={dropout} drops nothing: it is done between layers, and there is one", stacklevel=3)
        if not 0 <= proj_size < hidden_size:
            raise ArgumentError(
                "proj_size must be smaller than hidden_size", expected=f"0 to {hidden_size - 1}", found=proj_size
            )
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._all_weights: list[list[str]] = []
        rows, features, size = _GATES[mode] * hidden_size, proj_size or hidden_size, input_size
        for layer in range(num_layers):
            for suffix in ("", "_reverse") if bidirectional else ("",):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, size), "weight_hh": (rows, features)}
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = [f"{name}_l{layer}{suffix}" for name in shapes]
                for name, shape in zip(names, shapes.values()):
                    self.register_parameter(name, Parameter(shape=shape, dtype=dtype))
                self._all_weights.append(names)
            size = features * (2 if bidirectional else 1)
        self.unroll: bool | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's default: uniform, bounded by 1 / sqrt(hidden_size)."""
        _draw(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Nothing: it is for cuDNN."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def _sequences(
        self, input: Tensor | PackedSequence, hx: Sequence[Tensor] | None, lengths: Tensor | None
    ) -> tuple[Any, ...]:
        """The hidden states of the last layer, packed where the input is, and the last states."""
        if not isinstance(input, PackedSequence):
            return self._padded(input, hx, lengths, self.batch_first)
        if lengths is not None:
            raise ArgumentError(
                "a packed sequence has its lengths already",
                expected="lengths=None",
                found=format_shape(lengths.shape),
                remedy="give the padded batch and its lengths, or what pack_padded_sequence made of them",
            )
        made = self._padded(input.padded, hx, input.lengths, input.batch_first)
        return (input._replace(padded=made[0]), *made[1:])

    def _padded(
        self, input: Tensor, hx: Sequence[Tensor] | None, lengths: Tensor | None, batch_first: bool
    ) -> tuple[Tensor, ...]:
        """The hidden states of the last layer, and the last states; of one sequence where the input is one."""
        if input.ndim not in (2, 3) or (lengths is not None and input.ndim != 3):
            raise ShapeError(
                f"{self._get_name()} takes a sequence or a batch of them, with lengths a batch",
                expected="(L, I), or (N, L, I) with batch_first, else (L, N, I)",
                found=format_shape(input.shape),
            )
        single, axis = input.ndim == 2, 0 if batch_first else 1
        x = unsqueeze(input, axis) if single else input
        require_sizes("the input", x.shape[2:], (self.input_size,))
        count = len(self._all_weights)
        if hx is None:
            sizes = (self.proj_size or self.hidden_size, self.hidden_size)[: 2 if self.mode == "LSTM" else 1]
            states = [zeros(count, x.shape[axis], size, dtype=x.dtype) for size in sizes]
        else:
            for state in hx:
                if state.ndim != input.ndim:
                    raise ShapeError(
                        f"the states have as many dimensions as the input of {self._get_name()}",
                        expected=f"{input.ndim} dimensions",
                        found=format_shape(state.shape),
                    )
            states = [unsqueeze(state, 1) if single else state for state in hx]
        params = [parameter for weights in self.all_weights for parameter in weights]
        options = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional, batch_first)
        made: tuple[Tensor, ...]
        if self.mode == "LSTM":
            made = lstm(x, states, params, *options, lengths=lengths, unroll=self.unroll)
        else:
            made = _SEQUENCES[self.mode](x, states[0], params, *options, lengths=lengths, unroll=self.unroll)
        return (squeeze(made[0], axis), *(squeeze(state, 1) for state in made[1:])) if single else made

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0, "bidirectional": False,
        }  # fmt: skip
        shown += [f"{name}={getattr(self, name)}" for name, usual in defaults.items() if getattr(self, name) != usual]
        return ", ".join(shown)


class _OneState(RNNBase):
    """What RNN and GRU have in common, whose state is one tensor."""

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        """The hidden states of the last layer at each step, and the last ones of every layer.

        Args:
            input: a padded batch, or what `nn.utils.rnn.pack_padded_sequence` gives; the result is then packed too.
            lengths: the number of steps of each sequence, (N,) of int32 or int64, as torch's pack_padded_sequence:
                beyond it the result is 0, and the last states are those at it. All have L where it is None.
        """
        output, last = self._sequences(input, None if hx is None else (hx,), lengths)
        return output, last


class RNN(_OneState):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh) from step to step, or max(0, …).

    Args:
        input_size: I, the features of a step.
        hidden_size: H, the features of a hidden state.
        num_layers: how many layers; each takes the hidden states of the one before.
        nonlinearity: "tanh" or "relu".
        bias: whether there are biases.
        batch_first: whether arrays are (N, L, I) and not (L, N, I).
        dropout: the probability with which hidden states are dropped between layers where `to_torch(graph)` is trained.
        bidirectional: whether each layer runs backwards too; D is then 2, else 1.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: RNNBase's, with one gate.
    Shape: input (L, N, I), (N, L, I) with batch_first, or (L, I); hx (D num_layers, N, H) or (D num_layers, H), zeros
        unless given; to (L, N, D H), (N, L, D H) or (L, D H), and the last states, shaped as hx.
    Layers: one `fully_connected` for all inputs of a layer, then for each step `fully_connected`, `elementwise` and
        `activation`; between them `slice`, `shuffle`, `concatenation`, `constant`, or, of a loop, `trip_limit`,
        `iterator`, `recurrence`, `loop_output`.

    >>> rnn = nn.RNN(4, 8, batch_first=True)
    >>> graph = trtnet.record(rnn, input=Input((Dim("batch", max=64), 5, 4)))
    >>> [output.shape for output in graph.outputs.values()]
    [Size([batch, 5, 8]), Size([1, batch, 8])]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        mode = f"RNN_{_nonlinear(nonlinearity).upper()}"
        options = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(mode, input_size, hidden_size, *options, dtype=dtype)
        self.nonlinearity = nonlinearity


class GRU(_OneState):
    """n + z * (h - n) from step to step; see `F.gru_cell`.

    Args:
        input_size: I, the features of a step.
        hidden_size: H, the features of a hidden state.
        num_layers: how many layers; each takes the hidden states of the one before.
        bias: whether there are biases.
        batch_first: whether arrays are (N, L, I) and not (L, N, I).
        dropout: the probability with which hidden states are dropped between layers where `to_torch(graph)` is trained.
        bidirectional: whether each layer runs backwards too; D is then 2, else 1.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: RNNBase's, with three gates: r, z, n.
    Shape: as RNN's.
    Layers: one `fully_connected` for all inputs of a layer, then for each step `fully_connected`, `elementwise` and
        `activation`; between them `slice`, `shuffle`, `concatenation`, `constant`, or, of a loop, `trip_limit`,
        `iterator`, `recurrence`, `loop_output`.

    >>> graph = trtnet.record(nn.GRU(4, 8, bidirectional=True), input=Input((5, 2, 4)))
    >>> [output.shape for output in graph.outputs.values()]
    [Size([5, 2, 16]), Size([2, 2, 8])]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        options = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__("GRU", input_size, hidden_size, *options, dtype=dtype)


class LSTM(RNNBase):
    """c' = f * c + i * g and h' = o * tanh(c') from step to step; see `F.lstm_cell`.

    Args:
        input_size: I, the features of a step.
        hidden_size: H, the features of a hidden state.
        num_layers: how many layers; each takes the hidden states of the one before.
        bias: whether there are biases.
        batch_first: whether arrays are (N, L, I) and not (L, N, I).
        dropout: the probability with which hidden states are dropped between layers where `to_torch(graph)` is trained.
        bidirectional: whether each layer runs backwards too; D is then 2, else 1.
        proj_size: P, to how many features hidden states are projected, W_hr h'; 0 for none.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: RNNBase's, with four gates: i, f, g, o.
    Shape: input as RNN's; hx, and the last states, are two: hidden states as RNN's, of P features where they are
        projected, and cell states of H.
    Layers: one `fully_connected` for all inputs of a layer, then for each step `fully_connected`, `elementwise` and
        `activation`; between them `slice`, `shuffle`, `concatenation`, `constant`, or, of a loop, `trip_limit`,
        `iterator`, `recurrence`, `loop_output`.

    >>> graph = trtnet.record(nn.LSTM(4, 8, num_layers=2), input=Input((5, 2, 4)))
    >>> [output.shape for output in graph.outputs.values()]
    [Size([5, 2, 8]), Size([2, 2, 8]), Size([2, 2, 8])]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        options = (num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__("LSTM", input_size, hidden_size, *options, dtype=dtype)

    def forward(
        self, input: Tensor | PackedSequence, hx: tuple[Tensor, Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, Tensor]]:
        """The hidden states of the last layer at each step, and the last hidden and cell states of every layer.

        Args:
            input, lengths: see RNN's.
        """
        output, hidden, cell = self._sequences(input, hx, lengths)
        return output, (hidden, cell)


# --- cells ------------------------------------------------------------------------------------------------------------


class RNNCellBase(Module):
    """What RNNCell, LSTMCell and GRUCell have in common: their parameters.

    Args:
        input_size: I, the features of the input.
        hidden_size: H, the features of a state.
        bias: whether there are biases.
        num_chunks: how many gates there are.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: weight_ih (num_chunks H, I), weight_hh (num_chunks H, H), bias_ih and bias_hh (num_chunks H,); drawn as
        torch's, uniformly below 1 / sqrt(hidden_size).

    >>> nn.RNNCellBase(4, 8, bias=True, num_chunks=3).weight_ih.shape
    Size([24, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__()
        _positive(input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(shape=(rows, input_size), dtype=dtype)
        self.weight_hh = Parameter(shape=(rows, hidden_size), dtype=dtype)
        self.register_parameter("bias_ih", Parameter(shape=(rows,), dtype=dtype) if bias else None)
        self.register_parameter("bias_hh", Parameter(shape=(rows,), dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """torch's default: uniform, bounded by 1 / sqrt(hidden_size)."""
        _draw(self, self.hidden_size)

    def _step(self, cell: Callable[..., Any], input: Tensor, states: Sequence[Tensor | None]) -> list[Tensor]:
        """The next states; of one sample where the input is one."""
        if input.ndim not in (1, 2):
            raise ShapeError(
                f"{self._get_name()} takes one step",
                expected="(N, input_size) or (input_size,)",
                found=format_shape(input.shape),
            )
        single = input.ndim == 1
        x = unsqueeze(input, 0) if single else input
        require_sizes("the input", x.shape[1:], (self.input_size,))
        given: list[Tensor] = []
        for state in states:
            if state is None:
                given.append(zeros(x.shape[0], self.hidden_size, dtype=x.dtype))
            else:
                given.append(unsqueeze(state, 0) if single else state)
                require_sizes("the state", given[-1].shape, (x.shape[0], self.hidden_size))
        hx: Any = given if len(given) > 1 else given[0]
        made = cell(x, hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        following = list(made) if isinstance(made, tuple) else [made]
        return [squeeze(state, 0) for state in following] if single else following

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}"
        return shown if self.bias is True else f"{shown}, bias={self.bias}"


class RNNCell(RNNCellBase):
    """One step of an RNN: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or max(0, …).

    Args:
        input_size: I, the features of the input.
        hidden_size: H, the features of a state.
        bias: whether there are biases.
        nonlinearity: "tanh" or "relu".
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: RNNCellBase's, with one gate.
    Shape: (N, I) and (N, H), zeros unless given, to (N, H); or all without N.
    Layers: two `fully_connected`, `elementwise`, `activation`, `constant`.

    >>> graph = trtnet.record(nn.RNNCell(4, 8), input=Input((2, 4)), hx=Input((2, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 8])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, dtype=dtype)
        self.nonlinearity = _nonlinear(nonlinearity)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(rnn_tanh_cell if self.nonlinearity == "tanh" else rnn_relu_cell, input, [hx])[0]

    def extra_repr(self) -> str:
        shown = super().extra_repr()
        return shown if self.nonlinearity == "tanh" else f"{shown}, nonlinearity={self.nonlinearity}"


class GRUCell(RNNCellBase):
    """One step of a GRU; see `F.gru_cell`.

    Args:
        input_size: I, the features of the input.
        hidden_size: H, the features of a state.
        bias: whether there are biases.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: RNNCellBase's, with three gates: r, z, n.
    Shape: (N, I) and (N, H), zeros unless given, to (N, H); or all without N.
    Layers: two `fully_connected`, `slice`, `elementwise`, `activation`, `constant`.

    >>> graph = trtnet.record(nn.GRUCell(4, 8), input=Input((2, 4)), hx=Input((2, 8)))
    >>> graph.outputs["output"].shape
    Size([2, 8])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(gru_cell, input, [hx])[0]


class LSTMCell(RNNCellBase):
    """One step of an LSTM; see `F.lstm_cell`.

    Args:
        input_size: I, the features of the input.
        hidden_size: H, the features of a state.
        bias: whether there are biases.
        device: accepted; nothing depends on it.
        dtype: the parameters'.

    Parameters: RNNCellBase's, with four gates: i, f, g, o.
    Shape: (N, I) and two states (N, H), zeros unless given, to two of (N, H); or all without N.
    Layers: two `fully_connected`, `slice`, `elementwise`, `activation`, `constant`.

    >>> graph = trtnet.record(nn.LSTMCell(4, 8), input=Input((2, 4)))
    >>> [output.shape for output in graph.outputs.values()]
    [Size([2, 8]), Size([2, 8])]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: DeviceLike | None = None,
        dtype: DtypeLike | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, dtype=dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        hidden, cell = self._step(lstm_cell, input, [None, None] if hx is None else hx)
        return hidden, cell
