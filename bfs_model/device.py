"""Where a network computes."""

from typing import Any

import torch


def execution_device(module: Any) -> torch.device:
    """Where a network is, or, under offload, the accelerator that it will visit."""
    hook = getattr(module, "_hf_hook", None)
    return torch.device(getattr(hook, "execution_device", None) or module.device)
