"""The ECR service model: validates inputs by closures, and outputs by types, made once per shape.

``specs/ecr.json`` is botocore's model without its prose (scripts/compile_model.py).
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
from collections.abc import Callable
from importlib import resources
from typing import Any, Literal

from msgspec import Struct, convert, defstruct

from ecr_emulator.core import errors

Decode = Callable[[Any, str], Any]

# botocore's ECR operations that came later report violated constraints as ValidationException.
_VALIDATION_EXCEPTION = "ValidationException"

# Halves of UTF-16 pairs, which JSON can escape one by one but which no UTF-8 text can have.
_SURROGATE = re.compile("[\ud800-\udfff]")


class ConstraintError(Exception):
    """A value violates a constraint of the model; ``path`` says where, ``constraint`` which.

    ``of_member`` is how ECR words the constraint inside a list, where that differs.
    """

    def __init__(self, path: str, constraint: str, of_member: str | None = None) -> None:
        super().__init__(path, constraint)
        self.path = path
        self.constraint = constraint
        self.of_member = of_member or constraint


class Operation(Struct, frozen=True):
    """An operation of the API; ``function`` is the name of the coroutine that performs it."""

    name: str
    function: str
    input: str
    output: str
    errors: tuple[str, ...]
    paginated: bool


@functools.cache
def _document() -> dict[str, Any]:
    text = (resources.files("ecr_emulator.specs") / "ecr.json").read_text()
    document: dict[str, Any] = json.loads(text)
    return document


@functools.cache
def target_prefix() -> str:
    """Return what ``X-Amz-Target`` has before the operation's name, without the dot."""
    return str(_document()["target_prefix"])


@functools.cache
def operations() -> dict[str, Operation]:
    """Return the operations by name."""
    return {
        name: Operation(
            name,
            entry["function"],
            entry["input"],
            entry["output"],
            tuple(entry["errors"]),
            entry.get("paginated", False),
        )
        for name, entry in _document()["operations"].items()
    }


def shape(name: str) -> dict[str, Any]:
    """Return a shape of the compiled model."""
    found: dict[str, Any] = _document()["shapes"][name]
    return found


def decode_input(operation: Operation, value: Any) -> dict[str, Any]:
    """Check a request's JSON value against the operation's input and decode it.

    Members that the model does not know are dropped, and ones that are null count as absent, as
    AWS's JSON services do. Raises SerializationException for a wrong JSON type, and for a violated
    constraint InvalidParameterException or, where the operation does not declare that,
    ValidationException.
    """
    try:
        decoded: dict[str, Any] = decoder(operation.input)(value, "")
    except ConstraintError as error:
        kind = errors.InvalidParameterException
        if kind.__name__ not in operation.errors and _VALIDATION_EXCEPTION in operation.errors:
            raise errors.ValidationException(
                f"1 validation error detected: Value at '{error.path}' failed to satisfy constraint: "
                f"{error.of_member}"
            ) from None
        raise kind(
            f"Invalid parameter at '{error.path}' failed to satisfy constraint: '{error.constraint}'"
        ) from None
    return decoded


def check_output(operation: Operation, value: dict[str, Any]) -> Any:
    """Return what an operation returned as what msgspec encodes; members that are None are left out.

    Raises ValidationError for a value that is not of the output's shape.
    """
    return convert(value, output_type(operation.output))


@functools.cache
def decoder(name: str) -> Decode:
    """Return the function that checks and decodes values of a shape."""
    spec = shape(name)
    return _DECODERS[spec["type"]](spec)


def _structure_decoder(spec: dict[str, Any]) -> Decode:
    members = {member: decoder(target) for member, target in spec["members"].items()}
    required = spec.get("required", [])

    def decode(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong_type(value, "an object", path)
        prefix = f"{path}." if path else ""
        for member in required:
            if value.get(member) is None:
                raise ConstraintError(f"{prefix}{member}", "Member must not be null")
        return {
            member: decode_member(value[member], f"{prefix}{member}")
            for member, decode_member in members.items()
            if value.get(member) is not None
        }

    return decode


def _list_decoder(spec: dict[str, Any]) -> Decode:
    decode_member = decoder(spec["member"])
    least, most = spec.get("min", 0), spec.get("max")

    def decode(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong_type(value, "a list", path)
        _check_length(value, least, most, path)
        decoded = []
        for index, member in enumerate(value, 1):
            if member is None:
                raise ConstraintError(path, "Member must not be null")
            try:
                decoded.append(decode_member(member, f"{path}.{index}.member"))
            except ConstraintError as error:
                if error.path != f"{path}.{index}.member":
                    raise
                # ECR names the list and tells what holds for each of its members.
                raise ConstraintError(path, f"Member must satisfy constraint: [{error.of_member}]") from None
        return decoded

    return decode


def _map_decoder(spec: dict[str, Any]) -> Decode:
    decode_key, decode_value = decoder(spec["key"]), decoder(spec["value"])

    def decode(value: Any, path: str) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise _wrong_type(value, "an object", path)
        return {decode_key(key, path): decode_value(entry, f"{path}.{key}") for key, entry in value.items()}

    return decode


def _string_decoder(spec: dict[str, Any]) -> Decode:
    least, most, enum = spec.get("min", 0), spec.get("max"), spec.get("enum")
    pattern = spec.get("pattern")
    matcher = re.compile(spec.get("matcher", pattern), re.ASCII) if pattern is not None else None

    def decode(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise _wrong_type(value, "a string", path)
        if not value.isascii() and _SURROGATE.search(value):
            raise _wrong_type(value, "Unicode text", path)
        if enum is not None and value not in enum:
            raise ConstraintError(path, f"Member must satisfy enum value set: [{', '.join(enum)}]")
        _check_length(value, least, most, path)
        if matcher is not None and matcher.fullmatch(value) is None:
            raise ConstraintError(
                path,
                f"must satisfy regular expression '{pattern}'",
                f"Member must satisfy regular expression pattern: {pattern}",
            )
        return value

    return decode


def _integer_decoder(spec: dict[str, Any]) -> Decode:
    least, most = spec.get("min", -(1 << 63)), spec.get("max", (1 << 63) - 1)

    def decode(value: Any, path: str) -> int:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            raise _wrong_type(value, "an integer", path)
        if value < least:
            raise ConstraintError(path, f"Member must have value greater than or equal to {least}")
        if value > most:
            raise ConstraintError(path, f"Member must have value less than or equal to {most}")
        return value

    return decode


def _boolean_decoder(_spec: dict[str, Any]) -> Decode:
    def decode(value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise _wrong_type(value, "a boolean", path)
        return value

    return decode


def _number_decoder(_spec: dict[str, Any]) -> Decode:
    def decode(value: Any, path: str) -> float:
        if type(value) not in (int, float):
            raise _wrong_type(value, "a number", path)
        return float(value)

    return decode


def _blob_decoder(spec: dict[str, Any]) -> Decode:
    least, most = spec.get("min", 0), spec.get("max")

    def decode(value: Any, path: str) -> bytes:
        if not isinstance(value, str):
            raise _wrong_type(value, "a base64 string", path)
        try:
            decoded = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise _wrong_type(value, "a base64 string", path) from None
        _check_length(decoded, least, most, path)
        return decoded

    return decode


_DECODERS: dict[str, Callable[[dict[str, Any]], Decode]] = {
    "structure": _structure_decoder,
    "list": _list_decoder,
    "map": _map_decoder,
    "string": _string_decoder,
    "integer": _integer_decoder,
    "long": _integer_decoder,
    "boolean": _boolean_decoder,
    "double": _number_decoder,
    "timestamp": _number_decoder,
    "blob": _blob_decoder,
}


def _check_length(value: str | bytes | list[Any], least: int, most: int | None, path: str) -> None:
    if len(value) < least:
        raise ConstraintError(path, f"Member must have length greater than or equal to {least}")
    if most is not None and len(value) > most:
        raise ConstraintError(path, f"Member must have length less than or equal to {most}")


def _wrong_type(value: Any, wanted: str, path: str) -> errors.SerializationException:
    kinds = {str: "STRING", bool: "BOOLEAN", int: "NUMBER", float: "NUMBER", list: "LIST", dict: "OBJECT"}
    kind = kinds.get(type(value), "NULL")
    return errors.SerializationException(
        f"{kind}_VALUE can not be converted to {wanted} at '{path or 'the request'}'"
    )


@functools.cache
def output_type(name: str) -> Any:
    """Return the type of a shape's values in outputs."""
    spec = shape(name)
    match spec["type"]:
        case "structure":
            members = [
                (member, output_type(target) | None, None) for member, target in spec["members"].items()
            ]
            return defstruct(name, members, forbid_unknown_fields=True, omit_defaults=True)
        case "list":
            return list[output_type(spec["member"])]  # type: ignore[misc]
        case "map":
            return dict[str, output_type(spec["value"])]  # type: ignore[misc]
        case "string" if "enum" in spec:
            return Literal[tuple(spec["enum"])]
        case scalar:
            return _SCALARS[scalar]


_SCALARS: dict[str, type] = {
    "string": str,
    "integer": int,
    "long": int,
    "boolean": bool,
    "double": float,
    "timestamp": float,
    "blob": bytes,
}
