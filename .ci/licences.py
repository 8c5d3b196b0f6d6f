"""The licence part of deny.toml, for machines without cargo-deny: every dependency's licence must be an allowed one."""

import json
import re
import subprocess
import sys
import tomllib

with open("deny.toml", "rb") as file:
    allowed = set(tomllib.load(file)["licenses"]["allow"])
metadata = subprocess.run(
    ["cargo", "metadata", "--format-version", "1", "--locked"], check=True, capture_output=True
).stdout


def passes(expression):
    """An SPDX expression without nested brackets: one alternative whose every part is allowed."""
    expression = re.sub(r"[()]", "", expression.replace("/", " OR "))
    return any(all(part.strip() in allowed for part in side.split(" AND ")) for side in expression.split(" OR "))


packages = json.loads(metadata)["packages"]
bad = [f"{p['name']} {p['version']}: {p['license']}" for p in packages if not passes(p["license"] or "none")]
print(f"{len(packages)} packages, all under {', '.join(sorted(allowed))}" if not bad else "\n".join(bad))
sys.exit(bool(bad))
