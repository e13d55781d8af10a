"""Encoders that are given as objects, not as specs: kept by this process, and known by name and revision."""

import shlex
from collections.abc import Iterable
from typing import Any

from quiver import registry
from quiver.errors import BadSpec, MissingEncoder
from quiver.protocols import Encoder
from quiver.types import strings

#: First word of the specs of given encoders.
OBJECT = "object"
_GIVEN: dict[str, Encoder] = {}


def _is_object(given: Any) -> bool:
    return not isinstance(given, str) and hasattr(given, "embed")


def specs_of(encoders: Any) -> list[str]:
    """Return the specs of one encoder or several, each a spec or an object; objects are kept for this process.

    Raises:
        BadSpec: an object does not meet the protocol ``Encoder``, or states no name and revision.
    """
    several = isinstance(encoders, Iterable) and not isinstance(encoders, str) and not _is_object(encoders)
    specs = []
    for each in encoders if several else [encoders]:
        if _is_object(each):
            specs.append(give(each))
        else:
            specs += [spec if is_given(spec) else registry.canonical(spec) for spec in strings(each, "encoder")]
    return list(dict.fromkeys(specs))


def give(encoder: Any) -> str:
    """Keep an encoder object for this process, and return its spec.

    Raises:
        BadSpec: it does not meet the protocol ``Encoder``, or states no name and revision.
    """
    kind = type(encoder).__name__
    if not isinstance(encoder, Encoder):
        lacks = [name for name in ("keys", "spaces", "reader", "embed") if not hasattr(encoder, name)]
        raise BadSpec(f"{kind} is no encoder: it lacks {', '.join(lacks)} (see quiver.protocols.Encoder)")
    for name in ("name", "revision"):
        value = getattr(encoder, name, None)
        if not isinstance(value, str) or not value.strip():
            raise BadSpec(
                f"an encoder that is given as an object states its {name}, by which later searches ask for it:"
                f" {kind}.{name} is {value!r}; set it to a text, such as"
                f" {'my-clip' if name == 'name' else '2024-05-01'!r}"
            )
    spec = shlex.join([OBJECT, f"name={encoder.name}", f"revision={encoder.revision}"])  # type: ignore[attr-defined]
    _GIVEN[spec] = encoder
    return spec


def is_given(spec: str) -> bool:
    """Whether a spec is that of an encoder object."""
    return spec.startswith(f"{OBJECT} ")


def taken(spec: str) -> Encoder:
    """Return the encoder object of a spec.

    Raises:
        MissingEncoder: nobody gave it to this process.
    """
    if spec in _GIVEN:
        return _GIVEN[spec]
    options = registry.split(spec)[1]
    name, revision = options.get("name", ""), options.get("revision", "")
    other = [registry.split(each)[1] for each in _GIVEN]
    same = [each["revision"] for each in other if each["name"] == name]
    have = f"; the one given has revision {', '.join(same)}" if same else ""
    raise MissingEncoder(
        f"the encoder {name!r}, revision {revision!r}, was given as an object, and has to be given again:"
        f" shop.use(model), where model.name is {name!r} and model.revision is {revision!r}{have}"
    )
