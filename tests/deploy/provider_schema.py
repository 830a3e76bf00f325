"""Makes `provider_schema.json`: what Google's Terraform provider takes, of the resources that we use.

Terraform asks its own registry for it. Bindings that are generated from the provider's schema are on PyPI:
`pip download --no-deps cdktn-provider-google==21.1.0 cdktn-provider-google-beta==21.1.0`, which are of
provider 8.7.0; then `python -m tests.deploy.provider_schema *.whl`.
"""

import ast
import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_suffix(".json")
META = {"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioners"}
"""Arguments of any resource, which are Terraform's own."""

Schema = dict[str, Any]
"""Of each argument `required` or `optional`; of a block its own schema, with `""` for the block itself."""


class Argument(NamedTuple):
    """A parameter of a binding's constructor."""

    name: str
    is_required: bool
    annotation: str


def known() -> dict[str, Schema]:
    """The schema of each resource type."""
    resources: dict[str, Schema] = json.loads(FILE.read_text(encoding="utf-8"))["resources"]
    return resources


def main(wheels: list[str]) -> None:
    """Read the wheels and write the file."""
    types = sorted(json.loads(FILE.read_text(encoding="utf-8"))["resources"])
    made = {name: schema_of(name, wheels) for name in types}
    document = {"provider": "8.7.0", "resources": made}
    FILE.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def schema_of(resource: str, wheels: Iterable[str]) -> Schema:
    """Of one resource type; `google-beta` names its modules in full."""
    module = re.compile(rf"\w+/(google_)?{resource.removeprefix('google_')}/__init__\.py")
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            found = [name for name in archive.namelist() if module.fullmatch(name)]
            if found:
                classes = _classes(archive.read(found[0]).decode())
                (top,) = [name for name in classes if _is_config_of(name, resource)]
                return {k: v for k, v in _schema(top, classes).items() if k not in META}
    raise SystemExit(f"{resource} is in none of these")


def _is_config_of(name: str, resource: str) -> bool:
    words = resource.replace("_", "")
    return name.lower() in (f"{words}config", f"{words.removeprefix('google')}config")


def _classes(source: str) -> dict[str, list[Argument]]:
    return {
        one.name: [*_arguments(one)] for one in ast.parse(source).body if type(one) is ast.ClassDef
    }


def _arguments(of: ast.ClassDef) -> Iterator[Argument]:
    for function in of.body:
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            given = function.args
            for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
                annotation = ast.unparse(one.annotation) if one.annotation else ""
                yield Argument(one.arg.rstrip("_"), default is None, annotation)


def _schema(name: str, classes: dict[str, list[Argument]]) -> Schema:
    made: Schema = {}
    for argument in classes[name]:
        presence = "required" if argument.is_required else "optional"
        blocks = [word for word in re.findall(r"\w+", argument.annotation) if word in classes]
        made[argument.name] = {"": presence, **_schema(blocks[0], classes)} if blocks else presence
    return made


if __name__ == "__main__":
    main(sys.argv[1:])
