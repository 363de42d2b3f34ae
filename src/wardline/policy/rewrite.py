"""A policy with other training settings: the author's file, comments and all, with a few figures changed."""

from __future__ import annotations

import io
from collections.abc import Mapping

from ruamel.yaml import YAML

from wardline.policy.loader import LoadedPolicy, parse_policy
from wardline.policy.sections import DpSgd

SETTINGS = ("epsilon", "delta", "batch", "epochs", "clip_norm", "learning_rate")
"""What can be changed, in the order in which it is written."""


def with_training(loaded: LoadedPolicy, settings: Mapping[str, float], *, note: str) -> str:
    """The text of a policy whose protected training has these settings.

    Args:
        loaded: the policy to start from.
        settings: by name, out of `SETTINGS`; others keep what they were.
        note: a comment for the top of the file, one line or several.

    Returns:
        The text, checked: it is a policy.

    Raises:
        ValueError: for a name that is no setting, or a policy without protected training.
        PolicyError: if the result is no policy.
    """
    unknown = set(settings) - set(SETTINGS)
    if unknown:
        raise ValueError(f"no such setting: {', '.join(sorted(unknown))}")
    index = next((i for i, one in enumerate(loaded.policy.protections) if isinstance(one, DpSgd)), None)
    if index is None:
        raise ValueError("the policy has no protected training")
    # The strict reader has accepted this text, so the tree holds plain mappings, lists and scalars.
    yaml = YAML(typ="rt")
    yaml.width = 110
    yaml.preserve_quotes = True
    tree = yaml.load(loaded.text)
    for name in SETTINGS:
        if name in settings:
            value = settings[name]
            tree["protections"][index][name] = int(value) if float(value).is_integer() else float(value)
    out = io.StringIO()
    yaml.dump(tree, out)
    text = "".join(f"# {line}\n" for line in note.splitlines()) + out.getvalue()
    parse_policy(text.encode(), path=loaded.path)
    return text
