"""Which of vLLM's requests had NaN among their logits.

vLLM tells a log probability of what it drew from no numbers, but to ask it for log probabilities costs it a softmax of
the whole vocabulary for each token. It can also count the NaN of each row; the count comes with what the core says of a
step, and what vLLM makes of that for us leaves it out. So it is read on the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

COUNTING = "VLLM_COMPUTE_NANS_IN_LOGITS"


def count_them() -> None:
    """Has the processes of vLLM count, which read this when they start."""
    os.environ[COUNTING] = "1"


def tell_of_them(llm: Any, broken: Callable[[str], None]) -> None:
    """Calls `broken` with the name of a request before anything is heard of the token that came of no numbers."""
    processor = llm.output_processor
    plain = processor.process_outputs

    def process(outputs: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        for output in outputs:
            if output.num_nans_in_logits and (state := processor.request_states.get(output.request_id)):
                broken(state.external_req_id)
        return plain(outputs, *args, **kwargs)

    processor.process_outputs = process
