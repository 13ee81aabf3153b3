import numpy as np
import pytest

from tidegate.golden import Golden
from tidegate.golden.continued import Continued
from tidegate.spec.errors import TidegateError


@pytest.mark.parametrize("cuts", [(), (1,), (7, 8, 30), (13, 13, 39)])
@pytest.mark.parametrize("sizes, thresholds", [((9,), (12, 20)), ((8, 5), (0, 1, 16))])
def test_blocks_give_the_integers_of_the_whole(cuts, sizes, thresholds, model_factory, frames_factory):
    model, frames = model_factory(2, 6, sizes, 3, thresholds), frames_factory(1, 40, 3, 6)
    whole = Golden(model).run(frames)
    golden = Continued(model)
    blocks = [golden.accept(block) for block in np.split(frames, cuts)]
    assert np.array_equal(np.concatenate([logits for logits, _ in blocks]), whole.logits)
    assert np.array_equal(np.concatenate([events for _, events in blocks]), whole.events)
    again, _ = golden.accept(frames[:5])
    assert not np.array_equal(again, whole.logits[:5])
    golden.reset()
    assert np.array_equal(golden.accept(frames[:5])[0], whole.logits[:5])
    with pytest.raises(TidegateError):
        golden.accept(frames[0])
