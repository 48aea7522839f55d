"""What an engine has for its own calls does not keep it alive; which calls are those of torch's tensors on the GPU."""

import gc
import weakref

import pytest
from host_cuda import on_device
from judged_engines import X, standing_in

import trtnet
from trtnet import Input
from trtnet.errors import ArgumentTypeError, EngineError
from trtnet.tensorrt.run.bound_call import OwnBoundCall
from trtnet.tensorrt.run.contexts import OwnContext


class Dropped:
    """As much of an engine as can be without a GPU: something that can be dropped."""


@pytest.mark.parametrize("kind", [OwnContext, OwnBoundCall])
def test_own_calls_do_not_keep_the_engine(kind):
    engine, own = Dropped(), kind.__new__(kind)
    own.engine = engine
    gone = weakref.ref(engine)
    assert own.engine is engine
    del engine
    assert gone() is None, "there is no cycle"
    with pytest.raises(EngineError, match=r"cannot be used any more: nothing kept it"):
        own.engine  # noqa: B018


def test_an_engine_is_freed_when_nothing_keeps_it():
    with standing_in("10.8") as here:
        engine = here.build()
        engine(X), engine(on_device(X)), engine(on_device(X), graph=True)
        call = engine.bind(on_device(X))
        gone = weakref.ref(engine)
        gc.collect()
        gc.disable()
        try:
            del engine
            assert gone() is not None, "what the user bound keeps it"
            call()
            del call
            assert gone() is None, "there is no cycle"
        finally:
            gc.enable()


@pytest.mark.parametrize("other", [X, trtnet.tensor(X), 1.0])
def test_tensors_on_the_gpu_beside_others(other):
    with standing_in("10.8") as here:
        graph = trtnet.record(lambda x, y: x + y, x=Input(X.shape), y=Input(X.shape))
        here.infers(graph)
        engine = trtnet.build(graph, provider=here.provider.name, check=False)
        assert engine(on_device(X), on_device(X)).shape == X.shape
        for values in ((on_device(X), other), (other, on_device(X))):
            with pytest.raises(ArgumentTypeError, match=r"of one kind|is no array"):
                engine(*values)
        engine.close()
