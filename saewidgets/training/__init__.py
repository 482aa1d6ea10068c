"""Training: the loop, its schedules, dead latents, checkpoints, the estimate before Start.

Emits `events`, obeys a `Control`, and knows no job, table or widget. `run_training` is the whole of it from the
configuration to the exported SAE; the names below are imported when first used, since they need torch
(`estimate.estimate_together` does not).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
