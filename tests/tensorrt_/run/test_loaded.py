"""What an engine has for its own calls does not keep it alive."""

import weakref

import pytest

from trtnet.errors import EngineError
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
