"""Puts LeNet and its weights into the wheel, so that `trtnet demo` works without a checkout."""

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLED = ("models/lenet.py", "weights/lenet.safetensors", "weights/README.md")


class BundleHook(BuildHookInterface):
    def initialize(self, version, build_data):
        if self.target_name == "wheel" and version == "standard":  # an editable install reads the checkout
            build_data["force_include"].update({path: f"trtnet/_bundled/{path}" for path in BUNDLED})
