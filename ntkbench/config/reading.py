"""A study's YAML file as plain values."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ntkbench.config.problems import ConfigError, printable

_YAML = "tag:yaml.org,2002:"
MERGE = f"{_YAML}merge"
PLAIN = {f"{_YAML}{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
"""Tags of what a study is made of: no dates, no sets, and nothing that names a class."""
MOST_BYTES = 2**20
MOST_VALUES = 100_000
"""Of a file's size, and of the values in it once every alias stands for what it repeats."""


class _Loader(yaml.SafeLoader):
    """YAML of plain values under text keys, each given once; 1e-3 is a number (YAML 1.1 wants 1.0e-3) and a date a text."""

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            self._check(node, {})
        return node

    def _check(self, node: yaml.Node, sizes: dict[int, int | None]) -> int:
        """The number of values at and below a node, aliases followed; an error names the line of what is no study's.

        Args:
            sizes: of the nodes that were seen; None while they are being counted.
        """
        if id(node) in sizes:
            size = sizes[id(node)]
            if size is None:
                raise _error(node, "an alias repeats what it is part of; write the values out")
            return size
        sizes[id(node)] = None
        if node.tag not in PLAIN:
            raise _error(
                node, f"the tag {node.tag.replace(_YAML, '!!')} is not read; write plain numbers, texts, lists and keys"
            )
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node)
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
        size = 1 + sum(self._check(part, sizes) for part in _below(node))
        if size > MOST_VALUES:
            raise _error(node, f"with its aliases it holds more than {MOST_VALUES} values; write a smaller study")
        sizes[id(node)] = size
        return size

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        try:
            value = self.construct_object(node)
            str(value).encode()
        except (ValueError, KeyError) as error:  # numbers of thousands of digits, !!int one, halves of surrogate pairs
            raise _error(node, f"{node.value[:40]!r} cannot be read ({error}); write a plain number or text") from error

    def _check_keys(self, node: yaml.MappingNode) -> None:
        given = set()
        for key, _ in node.value:
            if key.tag == MERGE:
                continue
            if key.tag != f"{_YAML}str":
                shown = f"{key.value!r} " if isinstance(key, yaml.ScalarNode) else ""
                raise _error(key, f"the key {shown}is no text; write a name, or quote it")
            if key.value in given:
                raise _error(key, f"the key {key.value!r} is given twice; remove one")
            given.add(key.value)


_Loader.add_implicit_resolver(f"{_YAML}float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != f"{_YAML}timestamp"]
    for first, found in _Loader.yaml_implicit_resolvers.items()
}


class _Refused(yaml.MarkedYAMLError):
    """What is YAML, but no study."""


def _error(node: yaml.Node, problem: str) -> _Refused:
    return _Refused(problem=problem, problem_mark=node.start_mark)


def _below(node: yaml.Node) -> list[yaml.Node]:
    """The entries of a list, or the keys and values of a mapping, the sign of a merge left out."""
    if isinstance(node, yaml.MappingNode):
        return [part for key, value in node.value for part in ((value,) if key.tag == MERGE else (key, value))]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def read_yaml(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """The mapping in a file; ConfigError if there is none (`keys` are those it should have)."""
    try:
        raw = yaml.load(_text(path), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except FileNotFoundError:
        studies = sorted(file.stem for file in path.parent.glob("*.yaml"))
        known = ", ".join(studies) or "none; give a file, or work in a checkout"
        raise ConfigError(printable(f"{path} is missing; studies in {path.parent}: {known}")) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is no text in UTF-8 (byte {error.start} is {error.object[error.start]:#x}); save it in that encoding"
        ) from error
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        raise ConfigError(printable(f"{path} cannot be read: {error}; give a study's file")) from error
    except RecursionError as error:
        raise ConfigError(f"{path} is no valid YAML: it is nested too deeply; write the sections of a study") from error
    except yaml.YAMLError as error:
        mend = "" if isinstance(error, _Refused) else "; mend what stands there"
        raise ConfigError(printable(f"{path} is no valid YAML: {' '.join(str(error).split())}{mend}")) from error
    if not isinstance(raw, dict):
        kind = "nothing" if raw is None else "a list" if isinstance(raw, list) else "a single value"
        raise ConfigError(f"{path} holds {kind}; write the keys {', '.join(keys)}")
    return raw


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():  # a pipe would keep its reader waiting
        raise ConfigError(f"{path} is no file; give a study's file")
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise ConfigError(f"{path} has {path.stat().st_size} bytes, a study {MOST_BYTES} at most; write a smaller one")
    return path.read_text(encoding="utf-8")
