"""State dicts of learners with weight_norm and spectral_norm, in both of torch's spellings."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import trtnet
from trtnet import Input, nn
from trtnet.errors import WeightsError

torch = pytest.importorskip("torch")


def learner(norm: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.nn.Sequential(
            norm(torch.nn.Conv2d(2, 3, 3), **options),
            norm(torch.nn.ConvTranspose2d(3, 2, 2), **options),
            torch.nn.Flatten(),
            norm(torch.nn.Linear(50, 4), **options),
        )
    made.train()
    for _ in range(3):
        made(torch.randn(2, 2, 6, 6))
    return made.eval()


def plain() -> Any:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ConvTranspose2d(3, 2, 2), nn.Flatten(), nn.Linear(50, 4))


NORMS = {
    "weight_norm": (torch.nn.utils.weight_norm, {}),
    "weight_norm over all": (torch.nn.utils.weight_norm, {"dim": None}),
    "weight_norm, second dimension": (torch.nn.utils.weight_norm, {"dim": 1}),
    "spectral_norm": (torch.nn.utils.spectral_norm, {}),
    "parametrized weight_norm": (torch.nn.utils.parametrizations.weight_norm, {}),
    "parametrized spectral_norm": (torch.nn.utils.parametrizations.spectral_norm, {}),
}


@pytest.mark.parametrize("name", NORMS)
def test_loaded_and_refitted(name: str, tmp_path: Any) -> None:
    norm, options = NORMS[name]
    theirs = learner(norm, **options)
    x = np.random.default_rng(1).standard_normal((2, 2, 6, 6)).astype(np.float32)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(x)).numpy()
    state = theirs.state_dict()
    loaded = plain()
    loaded.load_state_dict(state)
    engine = trtnet.reference(trtnet.record(loaded, input=Input((2, 2, 6, 6))))
    np.testing.assert_allclose(engine(x), wanted, rtol=1e-5, atol=1e-5)
    torch.save(state, tmp_path / "learner.pt")
    refitted = trtnet.build(trtnet.record(plain(), input=Input((2, 2, 6, 6))), provider="reference", refit=True)
    refitted.refit({f"actor.{key}": value for key, value in state.items()}, prefix="actor.")
    np.testing.assert_allclose(refitted(x), wanted, rtol=1e-5, atol=1e-5)
    from_file = plain()
    from_file.load_weights(tmp_path / "learner.pt")
    found = from_file.state_dict()
    assert list(found) == list(plain().state_dict())
    for key, value in loaded.state_dict().items():
        np.testing.assert_allclose(found[key], value, rtol=1e-6)


def test_a_spectral_norm_that_may_be_of_two_dimensions() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch.nn.utils.spectral_norm(torch.nn.ConvTranspose2d(3, 3, 2))
    for _ in range(9):
        theirs(torch.randn(1, 3, 4, 4))
    mine = nn.ConvTranspose2d(3, 3, 2)
    with pytest.raises(WeightsError, match="spectral norm of 'weight' cannot be computed") as caught:
        mine.load_state_dict(theirs.state_dict())
    assert "remove_parametrizations" in caught.value.remedy
    square = learner_of_one(torch.nn.Linear(4, 4))
    loaded = nn.Linear(4, 4)
    loaded.load_state_dict(square.state_dict())
    np.testing.assert_allclose(loaded.state_dict()["weight"], square.weight.detach().numpy(), rtol=1e-5)


def learner_of_one(module: Any) -> Any:
    made = torch.nn.utils.parametrizations.spectral_norm(module)
    for _ in range(9):
        made(torch.randn(2, 4))
    return made.eval()


def test_a_part_that_is_missing() -> None:
    state = learner(torch.nn.utils.weight_norm).state_dict()
    del state["0.weight_g"]
    with pytest.raises(WeightsError, match="1 extra, 1 missing"):
        plain().load_state_dict(state)
