"""Puts a binary into the wheel, which pip then puts beside the other programs of the environment.

| environment | meaning |
|---|---|
| `OTTLA_BIN` | the binary |
| `OTTLA_WHEEL_PLATFORM` | what it runs on, as wheels name it, such as `manylinux_2_17_x86_64.musllinux_1_1_x86_64` for a static one; without it, machines like this one |
"""

import os
import sysconfig

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BinaryHook(BuildHookInterface):
    def initialize(self, version, build_data):
        binary = os.environ.get("OTTLA_BIN", "")
        if not os.access(binary, os.X_OK):
            raise SystemExit(f"OTTLA_BIN={binary}: it names the binary that the wheel is made of")
        here = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        platform = os.environ.get("OTTLA_WHEEL_PLATFORM", here)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["shared_scripts"] = {os.path.abspath(binary): "ottla"}
