"""Weights from one trainer to many actors: a Publisher sends them, Followers receive and apply them.

`publishing.py` and `following.py` are the two ends. Between them is a road, chosen by a URL and each in one file:
`folder.py` (`dir:`), `shared_memory.py` (`shm:`), `cuda_ipc.py` (`ipc:`), `distributed.py` (`dist:`) and `ray.py`
(`ray:`, with pools of Ray actors). `roads.py` says what a road is, `layout.py` where tensors lie in one run of bytes,
`metrics.py` shows what is counted.

Where to add: a further road as a file with a class that offers `sender` and `receiver`, and its scheme in `roads.py`.
Nothing here changes an engine but by `refit`.
"""

from __future__ import annotations

from .following import Follower as Follower
from .metrics import add_scalars as add_scalars
from .metrics import expose as expose
from .publishing import Publisher as Publisher
from .publishing import PublishReport as PublishReport
from .roads import Head as Head
from .roads import Receiver as Receiver
from .roads import Road as Road
from .roads import Sender as Sender
from .roads import Sent as Sent
from .roads import Update as Update
