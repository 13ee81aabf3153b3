"""What a model is made with."""

import platform

import torch

import tidegate


def made_with(device: torch.device) -> dict[str, str]:
    """The versions of tidegate and torch, and the name of the device, for a model's card."""
    name = f"CPU ({platform.machine()})" if device.type == "cpu" else torch.cuda.get_device_name(device)
    return {"tidegate": tidegate.__version__, "torch": str(torch.__version__), "device": name}
