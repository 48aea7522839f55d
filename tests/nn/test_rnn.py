"""RNN, LSTM, GRU and their cells against torch.nn."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from harness import check_against_torch, randomize, torch_state
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import both, same_structure, values
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import trtnet
from trtnet import Dim, Input, nn
from trtnet.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, UnsupportedError
from trtnet.functional.recurrent import UNROLLED

CELLS = ["RNN", "LSTM", "GRU"]
FORMS = pytest.mark.parametrize("unroll", [True, False], ids=["unrolled", "loop"])
EXACT = {"rtol": 1e-12, "atol": 1e-12}


class Calls(nn.Module):
    """A recurrent module, its states as arguments of their own."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, h=None, c=None, lengths=None):
        hx = h if h is None or c is None else (h, c)
        return self.inner(x, hx) if lengths is None else self.inner(x, hx, lengths)


def theirs_called(theirs, names):
    """The same of torch's, `lengths` by way of packing."""

    def call(*tensors):
        given = dict(zip(names, tensors, strict=True))
        x, lengths = given["x"], given.get("lengths")
        hx = (given["h"], given["c"]) if "c" in given else given.get("h")
        if lengths is None:
            return theirs(x, hx)
        first = theirs.batch_first
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=first, enforce_sorted=False)
        output, last = theirs(packed, hx)
        return pad_packed_sequence(output, batch_first=first, total_length=x.shape[1 if first else 0])[0], last

    return call


def compare(ours, theirs, inputs, shapes=None, compile=False):
    same_structure(ours, theirs)
    randomize(theirs).double().eval()
    return check_against_torch(
        Calls(ours),
        theirs_called(theirs, list(inputs)),
        inputs,
        state_dict={f"inner.{key}": value for key, value in torch_state(theirs).items()},
        shapes=shapes,
        compile=compile,
        **EXACT,
    )


def inputs_of(theirs, length, batch, states, packed=None):
    """Random arrays for a module of torch's; of one sequence where `batch` is None."""
    count, several = len(theirs.all_weights), () if batch is None else (batch,)
    steps = (*several, length) if theirs.batch_first else (length, *several)
    arrays = {"x": values((*steps, theirs.input_size), 1)}
    if states:
        arrays["h"] = values((count, *several, theirs.proj_size or theirs.hidden_size), 2)
        if theirs.mode == "LSTM":
            arrays["c"] = values((count, *several, theirs.hidden_size), 3)
    if packed is not None:
        arrays["lengths"] = np.array(packed, np.int64)
    return arrays


def dynamic(arrays, batch_first, unroll):
    """Shapes with a dynamic batch, and of a loop with a dynamic number of steps."""
    batch, length = Dim("batch", min=1, opt=2, max=4), Dim("length", min=1, opt=3, max=7)
    states = (len(arrays["h"]) if "h" in arrays else 0, batch)
    x = list(arrays["x"].shape)
    x[0 if batch_first else 1] = batch
    if not unroll:
        x[1 if batch_first else 0] = length
    shapes = {"x": tuple(x), "lengths": (batch,)}
    return {name: shapes.get(name, (*states, array.shape[-1])) for name, array in arrays.items()}


@st.composite
def configurations(draw):
    name = draw(st.sampled_from(CELLS))
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }
    if name == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    hidden = draw(st.integers(2, 4))
    if name == "LSTM":
        options["proj_size"] = draw(st.integers(0, hidden - 1))
    length, batch = draw(st.integers(1, 5)), draw(st.sampled_from([None, 1, 2, 3]))
    packed = None
    if batch is not None and draw(st.booleans()):
        packed = draw(st.lists(st.integers(1, length), min_size=batch, max_size=batch))
    return name, (draw(st.integers(1, 3)), hidden), options, length, batch, draw(st.booleans()), packed


@FORMS
@given(configurations(), st.booleans())
@settings(max_examples=60)
def test_as_torchs(unroll, case, moves):
    name, sizes, options, length, batch, states, packed = case
    ours, theirs = both(name, *sizes, **options)
    ours.unroll = unroll
    arrays = inputs_of(theirs, length, batch, states, packed)
    shapes = dynamic(arrays, theirs.batch_first, unroll) if moves and batch is not None else None
    compare(ours, theirs, arrays, shapes)


COMPILED = {
    "RNN": {"nonlinearity": "relu", "batch_first": True},
    "GRU": {"bidirectional": True},
    "LSTM": {"num_layers": 2, "proj_size": 2, "bidirectional": True, "batch_first": True},
}


@FORMS
@pytest.mark.parametrize("moves", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", CELLS)
def test_compiled(name, moves, unroll):
    ours, theirs = both(name, 3, 4, **COMPILED[name])
    ours.unroll = unroll
    arrays = inputs_of(theirs, 3, 2, True, packed=[2, 3])
    shapes = dynamic(arrays, theirs.batch_first, unroll) if moves else None
    graph = compare(ours, theirs, arrays, shapes, compile=True)
    assert len(graph.outputs) == (3 if name == "LSTM" else 2)
    loops = sum(layer.kind == "trip_limit" for layer in graph.layers)
    assert loops == (0 if unroll else len(theirs.all_weights))


@pytest.mark.parametrize(("length", "unroll", "loops"), [
    (1, None, 0), (UNROLLED, None, 0), (UNROLLED + 1, None, 1), (2, False, 1), (UNROLLED + 1, True, 0),
    (Dim("length", min=1, opt=4, max=9), None, 1), (Dim("length", min=1, opt=4, max=9), False, 1),
])  # fmt: skip
def test_what_is_unrolled(length, unroll, loops):
    module = nn.LSTM(3, 4, batch_first=True)
    module.unroll = unroll
    graph = trtnet.record(module, input=Input((2, length, 3)))
    assert sum(layer.kind == "trip_limit" for layer in graph.layers) == loops


def test_a_dynamic_length_cannot_be_unrolled():
    module = nn.GRU(3, 4, batch_first=True)
    module.unroll = True
    spec = Input((2, Dim("length", min=1, opt=4, max=9), 3))
    with pytest.raises(ShapeError, match="only where it is known how many they are") as caught:
        trtnet.record(module, input=spec)
    assert caught.value.where.file == __file__
    assert "leave unroll None" in caught.value.remedy
    module.unroll = None
    assert str(trtnet.record(module, input=spec).outputs["output_0"].shape) == "(2, length, 4)"


@FORMS
@pytest.mark.parametrize("name", CELLS)
def test_lengths_at_the_bounds(name, unroll):
    """0, which torch refuses, leaves the states as they were; what is longer than the input ends with it."""
    ours, theirs = both(name, 3, 4, batch_first=True, bidirectional=True)
    ours.unroll = unroll
    ours.load_state_dict(torch_state(randomize(theirs)))
    arrays = inputs_of(theirs, 3, 3, True) | {"lengths": np.array([0, 2, 9], np.int32)}
    graph = trtnet.record(Calls(ours), **{name: Input(array.shape, str(array.dtype)) for name, array in arrays.items()})
    output, last = trtnet.reference(graph)(**arrays)
    hidden = last[0] if name == "LSTM" else last
    assert not output[0].any()
    assert not output[1, 2].any()
    assert output[2].all()
    np.testing.assert_array_equal(hidden[:, 0], arrays["h"][:, 0])
    whole = theirs(torch.from_numpy(arrays["x"][2:]), tuple(
        torch.from_numpy(arrays[k][:, 2:].copy()) for k in ("h", "c")) if name == "LSTM" else
        torch.from_numpy(arrays["h"][:, 2:].copy()))[0]  # fmt: skip
    np.testing.assert_allclose(output[2:], whole.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("moves", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("states", [False, True])
def test_cells(name, bias, moves, single, states):
    options = {"bias": bias, **({"nonlinearity": "relu"} if name == "RNNCell" and bias else {})}
    ours, theirs = both(name, 3, 4, **options)
    several = () if single else (2,)
    arrays = {"x": values((*several, 3), 1)}
    for at in ("h", "c")[: (2 if name == "LSTMCell" else 1) if states else 0]:
        arrays[at] = values((*several, 4), len(arrays) + 1)
    batch = Dim("batch", min=1, opt=2, max=4)
    shapes = {k: (batch, *v.shape[1:]) for k, v in arrays.items()} if moves and not single else None
    same_structure(ours, theirs)
    randomize(theirs).double()

    def call(x, h=None, c=None):
        return theirs(x, h if c is None else (h, c))

    state = {f"inner.{key}": value for key, value in torch_state(theirs).items()}
    check_against_torch(
        Calls(ours), call, arrays, state_dict=state, shapes=shapes, compile=states and not single, **EXACT
    )


def test_called_outside_a_recording():
    ours, theirs = both("LSTM", 3, 4)
    ours.load_state_dict(torch_state(theirs))
    x = values((5, 2, 3))
    output, (hidden, cell) = ours(trtnet.tensor(x))
    wanted, (their_hidden, their_cell) = theirs(torch.from_numpy(x))
    for mine, torchs in ((output, wanted), (hidden, their_hidden), (cell, their_cell)):
        np.testing.assert_allclose(mine.numpy(), torchs.detach().numpy(), rtol=1e-5, atol=1e-6)
    step = nn.LSTMCell(3, 4)
    assert [state.shape for state in step(trtnet.tensor(x[0]))] == [(2, 4), (2, 4)]


@FORMS
@pytest.mark.parametrize("name", CELLS)
def test_gradients_are_torchs(name, unroll):
    ours, theirs = both(name, 3, 4, num_layers=2, bidirectional=True)
    ours.unroll = unroll
    ours.load_state_dict(torch_state(theirs))
    mine = trtnet.to_torch(trtnet.record(Calls(ours), x=Input((4, 2, 3)), lengths=Input((2,), "int64"))).double()
    theirs.double()
    x, lengths = torch.from_numpy(values((4, 2, 3))).double(), torch.tensor([2, 4])
    for output in (mine(x, lengths)[0], theirs_called(theirs, ["x", "lengths"])(x, lengths)[0]):
        (output * torch.arange(1.0, 9.0).double()).sin().sum().backward()
    for key, parameter in theirs.named_parameters():
        torch.testing.assert_close(mine.get_parameter(f"inner.{key}").grad, parameter.grad, rtol=1e-9, atol=1e-11)


@FORMS
def test_dropout_between_layers_in_training(unroll):
    ours, theirs = both("GRU", 3, 4, num_layers=2, dropout=0.5)
    ours.load_state_dict(torch_state(theirs))
    dry = nn.GRU(3, 4, num_layers=2)
    ours.unroll = dry.unroll = unroll
    graph = trtnet.record(Calls(ours), x=Input((3, 2, 3)))
    plain = trtnet.record(Calls(dry), x=Input((3, 2, 3)))
    assert graph.structure_hash() == plain.structure_hash()
    mine, theirs = trtnet.to_torch(graph).double(), theirs.double()
    x = torch.from_numpy(values((3, 2, 3))).double()
    torch.testing.assert_close(mine.eval()(x)[0], theirs.eval()(x)[0], **EXACT)
    found = []
    for module in (mine, theirs):
        module.train()
        torch.manual_seed(0)
        found.append(module(x)[0])
    torch.testing.assert_close(*found, **EXACT)
    assert not torch.equal(mine(x)[0], mine(x)[0])


def test_weights_by_torchs_names(tmp_path):
    ours, theirs = both("LSTM", 3, 4, num_layers=2, bidirectional=True, proj_size=2)
    assert "weight_hr_l1_reverse" in ours.state_dict()
    ours.load_state_dict(torch_state(theirs))
    theirs.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in ours.state_dict().items()})
    ours.save_weights(tmp_path / "lstm.safetensors")
    again = nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2).load_weights(tmp_path / "lstm.safetensors")
    for key, value in torch_state(theirs).items():
        np.testing.assert_array_equal(again.state_dict()[key], value)
    assert again.flatten_parameters() is None
    mine, torchs = ([[tuple(w.shape) for w in weights] for weights in m.all_weights] for m in (again, theirs))
    assert mine == torchs


class Packs(nn.Module):
    """As model files of torch's write it."""

    def __init__(self, inner, rnn, first):
        super().__init__()
        self.inner = inner
        self.rnn, self.first = rnn, first

    def forward(self, x, lengths, value=2.5):
        packed = self.rnn.pack_padded_sequence(x, lengths, batch_first=self.first, enforce_sorted=False)
        output, last = self.inner(packed)
        size = x.shape[1 if self.first else 0]
        padded, lengths = self.rnn.pad_packed_sequence(output, not self.first, value, total_length=size)
        plain, _ = self.rnn.pad_packed_sequence(packed, batch_first=self.first, total_length=size)
        return padded, lengths, plain, last


@FORMS
@pytest.mark.parametrize("first", [False, True], ids=["steps first", "batch first"])
@pytest.mark.parametrize("moves", [False, True], ids=["static", "dynamic"])
def test_packed_sequences_as_torchs(first, moves, unroll):
    """The module's own batch_first means nothing to what is packed."""
    ours, theirs = both("GRU", 3, 4, bidirectional=True, batch_first=True)
    ours.unroll = unroll
    randomize(theirs).double()
    arrays = {"x": values((2, 5, 3) if first else (5, 2, 3)), "lengths": np.array([2, 4], np.int64)}
    check_against_torch(
        Packs(ours, nn.utils.rnn, first),
        lambda x, lengths: Packs.forward(
            SimpleNamespace(inner=theirs, rnn=torch.nn.utils.rnn, first=first), x, lengths
        ),
        arrays,
        shapes=dynamic(arrays, first, unroll) if moves else None,
        state_dict={f"inner.{key}": value for key, value in torch_state(theirs).items()},
        **EXACT,
    )


@pytest.mark.parametrize("ndim", [2, 3, 4])
def test_padding_of_any_rank(ndim):
    def call(rnn, x):
        return rnn.pad_packed_sequence(rnn.pack_padded_sequence(x, [3, 1], True), True, -1.0)[0]

    x = values((2, 3, 4, 5)[:ndim])
    check_against_torch(lambda x: call(nn.utils.rnn, x), lambda x: call(torch.nn.utils.rnn, x), {"x": x}, **EXACT)


@pytest.mark.parametrize(("use", "kind", "message"), [
    (lambda packed: packed.data, UnsupportedError, "has no data here"),
    (lambda packed: packed.batch_sizes, UnsupportedError, "has no batch_sizes here"),
    (lambda packed: nn.utils.rnn.pad_packed_sequence(packed, total_length=7), ShapeError, "keeps the size"),
    (lambda packed: nn.GRU(3, 4)(packed, lengths=packed.lengths), ArgumentError, "has its lengths already"),
])  # fmt: skip
def test_what_packed_sequences_have_not(use, kind, message):
    def call(x, lengths):
        return use(nn.utils.rnn.pack_padded_sequence(x, lengths))

    with pytest.raises(kind, match=message) as caught:
        trtnet.record(call, x=Input((5, 2, 3)), lengths=Input((2,), "int64"))
    assert caught.value.where.file == __file__
    assert caught.value.remedy


@FORMS
def test_a_refit_of_every_weight(unroll):
    ours, theirs = both("GRU", 3, 4, bidirectional=True)
    ours.unroll = unroll
    engine = trtnet.reference(trtnet.record(Calls(ours), x=Input((3, 2, 3))))
    state = torch_state(randomize(theirs))
    engine.refit({f"inner.{key}": value for key, value in state.items()})
    x = values((3, 2, 3))
    wanted = theirs(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(engine(x)[0], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_initial_distributions(name):
    torch.manual_seed(0)
    trtnet.manual_seed(0)
    ours, theirs = both(name, 24, 64)
    for key, value in theirs.state_dict().items():
        mine = ours.state_dict()[key]
        assert abs(mine.std() - value.numpy().std()) < 0.15 * value.numpy().std(), key
        assert np.abs(mine).max() <= 1 / 8


def test_half_precision():
    module = nn.LSTM(3, 4).half()
    graph = trtnet.record(Calls(module), x=Input((3, 2, 3), "float16"))
    assert {output.dtype.name for output in graph.outputs.values()} == {"float16"}
    with pytest.raises(DtypeError):
        trtnet.record(Calls(module), x=Input((3, 2, 3)))


ERRORS = [
    (lambda: nn.LSTM(0, 4), ArgumentError, "input_size must be greater than 0"),
    (lambda: nn.LSTM(3, 0), ArgumentError, "hidden_size must be greater than 0"),
    (lambda: nn.GRU(3, 4, num_layers=0), ArgumentError, "num_layers must be greater than 0"),
    (lambda: nn.GRU(3, 4, num_layers=2, dropout=1.5), ArgumentError, "between 0 and 1"),
    (lambda: nn.RNN(3, 4, nonlinearity="sin"), ArgumentError, "no such nonlinearity"),
    (lambda: nn.RNNCell(3, 4, nonlinearity="sin"), ArgumentError, "no such nonlinearity"),
    (lambda: nn.LSTM(3, 4, proj_size=4), ArgumentError, "smaller than hidden_size"),
    (lambda: nn.RNN(3, 4, proj_size=2), ArgumentTypeError, "proj_size"),
    (lambda: nn.RNNBase("SRU", 3, 4), ArgumentError, "no such recurrent network"),
]


@pytest.mark.parametrize(("make", "kind", "message"), ERRORS)
def test_arguments_that_are_refused(make, kind, message):
    with pytest.raises(kind, match=message) as caught:
        make()
    assert caught.value.where is None or caught.value.where.file == __file__


def recorded(module, **shapes):
    inputs = {name: Input(*spec) if isinstance(spec[0], tuple) else Input(spec) for name, spec in shapes.items()}
    return trtnet.record(Calls(module), **inputs)


SHAPES = [
    (lambda: recorded(nn.LSTM(3, 4), x=(5, 2, 2)), "the input is of another shape"),
    (lambda: recorded(nn.LSTM(3, 4), x=(1, 5, 2, 3)), "takes a sequence or a batch"),
    (lambda: recorded(nn.LSTM(3, 4), x=(5, 3), lengths=((1,), "int64")), "takes a sequence or a batch"),
    (lambda: recorded(nn.GRU(3, 4), x=(0, 2, 3)), "one step or more"),
    (lambda: recorded(nn.GRU(3, 4), x=(5, 2, 3), h=(1, 4)), "as many dimensions as the input"),
    (lambda: recorded(nn.GRU(3, 4), x=(5, 2, 3), h=(2, 2, 4)), "the hidden state is of another shape"),
    (lambda: recorded(nn.LSTM(3, 4), x=(5, 2, 3), h=(1, 2, 4), c=(1, 2, 3)), "the cell state is of another shape"),
    (lambda: recorded(nn.GRU(3, 4), x=(5, 2, 3), lengths=((3,), "int64")), "lengths is of another shape"),
    (lambda: recorded(nn.GRU(3, 4), x=(5, 2, 3), lengths=((2, 1), "int64")), "number of steps of each sequence"),
    (lambda: recorded(nn.GRUCell(3, 4), x=(5, 2, 3)), "takes one step"),
    (lambda: recorded(nn.GRUCell(3, 4), x=(2, 3), h=(2, 3)), "the state is of another shape"),
    (lambda: recorded(nn.GRUCell(3, 4), x=(2, 4)), "the input is of another shape"),
]


@pytest.mark.parametrize(("make", "message"), SHAPES)
def test_shapes_that_are_refused(make, message):
    with pytest.raises(ShapeError, match=message) as caught:
        make()
    assert caught.value.where.file == __file__


def test_lengths_of_another_type():
    with pytest.raises(DtypeError, match="number of steps of each sequence"):
        recorded(nn.GRU(3, 4), x=(5, 2, 3), lengths=((2,), "float32"))


def test_dropout_of_one_layer_warns_as_torchs():
    with pytest.warns(UserWarning, match="dropout=0.5 drops nothing") as caught:
        nn.LSTM(3, 4, dropout=0.5)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.LSTM(3, 4, num_layers=2, dropout=0.5)
