# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that hold for every file of the collection.

A rule is a function that takes the root of a repository and yields one sentence per problem. RULES lists them;
test_repository.py runs them over this checkout, test_rules_can_fail.py over small bad examples.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import ansible.plugins.filter as ansible_filters
import jinja2
import jinja2.nodes
import yaml

Rule = Callable[[Path], Iterator[str]]

COLLECTION = "drydock.registry"
# Entry points by convention; `common` consists of nothing else, and its README names them.
ENTRY_POINTS = {"main", "preflight", "remove"}
SKIPPED_FOLDERS = {
    ".git",
    ".venv",
    ".venv-newest",
    ".cache",
    ".ansible",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "__pycache__",
}
CHANGELOG_SECTIONS = {
    "release_summary",
    "breaking_changes",
    "major_changes",
    "minor_changes",
    "deprecated_features",
    "removed_features",
    "security_fixes",
    "bugfixes",
    "known_issues",
    "trivial",
}
MACHINE_PATH = re.compile(r"""(?<![\w.}~/-])/(?:work|root|home/\w+)/""")
PACKAGE_MIRROR = re.compile(
    r"""\b(?:deb|ftp[\w.]*|security|snapshot|archive|ports)\.(?:debian|ubuntu)\.\w+
    |\b(?:debian|ubuntu|mirrors?|[\w-]+-mirror)\.[\w-]+\.\w+/(?:debian|ubuntu|pypi|simple)
    |\bpypi\.org/simple""",
    re.VERBOSE,
)
# Where pip looks when it is told nothing: the file of a fleet's bundle has to know it as pip does.
DEFAULT_INDEX = "plugins/module_utils/_configuration_bundle.py"
TASKS_FROM_EXTENSION = re.compile(r"""tasks_from\s*[:=]\s*["']?[^\s"'#]+\.ya?ml\b""")


# --- Reading -----------------------------------------------------------------------------------------------------


class Loader(yaml.SafeLoader):
    """YAML as Ansible writes it: its tags are values like any other."""


Loader.add_constructor("!vault", lambda _, node: str(node.value))
Loader.add_constructor("!unsafe", lambda _, node: str(node.value))


def load(path: Path) -> Any:
    """Return the content of a YAML file: of its document, or of all of them as a list."""
    with path.open(encoding="utf-8") as stream:  # from a stream, an error names the file
        documents = list(yaml.load_all(stream, Loader))
    return documents if len(documents) > 1 else next(iter(documents), None)


def load_dict(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; a missing or empty file is an empty one."""
    content = load(path) if path.exists() else None
    return content if isinstance(content, dict) else {}


def files(root: Path) -> list[Path]:
    """Return the repository's files: what git knows or would take, or else everything but caches."""
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
        found = [root / name for name in names if name]
    else:
        found = [path for path in root.rglob("*") if not SKIPPED_FOLDERS & set(path.relative_to(root).parts)]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def yaml_files(root: Path) -> list[Path]:
    """Return the YAML files of the repository."""
    return [path for path in files(root) if path.suffix in {".yml", ".yaml"}]


def roles(root: Path) -> list[Path]:
    """Return the folders of the roles."""
    return sorted(path for path in (root / "roles").glob("*") if path.is_dir())


def role_files(role: Path, *folders: str) -> list[Path]:
    """Return the YAML files in some folders of a role."""
    return sorted(path for folder in folders for path in (role / folder).rglob("*.yml"))


def name(path: Path, root: Path) -> str:
    """Return a file's path as a message names it."""
    return path.relative_to(root).as_posix()


def tasks(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the tasks and blocks in a list of tasks, those within blocks too."""
    for task in content if isinstance(content, list) else []:
        if isinstance(task, dict):
            yield task
            for section in ("block", "rescue", "always", "pre_tasks", "tasks", "post_tasks", "handlers"):
                yield from tasks(task.get(section))


def mappings(content: Any) -> Iterator[dict[Any, Any]]:
    """Yield every mapping, however deep."""
    if isinstance(content, dict):
        yield content
        content = list(content.values())
    if isinstance(content, list):
        for item in content:
            yield from mappings(item)


def module_arguments(task: Mapping[str, Any], *modules: str) -> dict[str, Any]:
    """Return the arguments of a task that calls one of these builtin modules."""
    for module in modules:
        for key in (module, f"ansible.builtin.{module}"):
            if isinstance(task.get(key), dict):
                return dict(task[key])
    return {}


def included_role(task: Mapping[str, Any]) -> str:
    """Return the short name of the role that a task includes, or nothing."""
    arguments = module_arguments(task, "include_role", "import_role")
    return str(arguments.get("name", "")).removeprefix(f"{COLLECTION}.")


def text_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the repository's text files with their content."""
    for path in files(root):
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def same(left: Any, right: Any) -> bool:
    """Compare by type as well: true is not 1."""
    return json.dumps(left, sort_keys=True, default=str) == json.dumps(right, sort_keys=True, default=str)


# --- Roles -------------------------------------------------------------------------------------------------------


def specs(role: Path) -> dict[str, Any]:
    """Return a role's argument specs by entry point."""
    return load_dict(role / "meta" / "argument_specs.yml").get("argument_specs") or {}


def specs_equal_defaults(root: Path) -> Iterator[str]:
    """Argument specs and defaults name the same inputs with the same values; a computed default is in defaults/ alone."""
    for role in roles(root):
        defaults = load_dict(role / "defaults" / "main.yml")
        specified: set[str] = set()
        for entry, spec in specs(role).items():
            options = (spec or {}).get("options") or {}
            specified |= set(options)
            for option, details in options.items():
                for problem in default_problems(option, details, defaults):
                    yield f"{name(role, root)}: entry point {entry}: {problem}"
        for option in sorted(set(defaults) - specified):
            yield f"{name(role, root)}: {option} of defaults/main.yml is in no argument spec."


def default_problems(option: str, details: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """Compare what an argument spec says of an input's default with defaults/main.yml."""
    if option not in defaults:
        if "default" in details:
            yield f"{option} has a default that defaults/main.yml lacks."
        elif not details.get("required"):
            yield f"{option} is neither required nor has it a default."
    elif read := variables_read(defaults[option]):
        # antsibull-docs takes a template for a wrong value, and a reader cannot use it.
        if "default" in details:
            yield f"{option} has a computed default, which is to be described, not repeated."
        sentences = [line for text in strings(details.get("description")) for line in text.split(". ")]
        if not any(
            line.startswith("By default") and re.search(rf"\b(?:{'|'.join(read)})\b", line) for line in sentences
        ):
            yield f"{option} lacks a sentence `By default ...` that names {' or '.join(read)}."
    elif "default" not in details:
        yield f"{option} lacks the default {defaults[option]!r} of defaults/main.yml."
    elif not same(details["default"], defaults[option]):
        yield f"the default of {option} is {details['default']!r}, in defaults/main.yml {defaults[option]!r}."


def variables_read(value: Any) -> list[str]:
    """Return the variables that the templates in a value read."""
    if isinstance(value, (dict, list)):
        values = [*value, *value.values()] if isinstance(value, dict) else value
        return sorted({variable for item in values for variable in variables_read(item)})
    if not isinstance(value, str):
        return []
    tree = templates_environment().parse(value)
    return sorted({node.name for node in tree.find_all(jinja2.nodes.Name) if node.ctx == "load"} - {"lookup", "query"})


@cache
def templates_environment() -> jinja2.Environment:
    """Return a Jinja that parses what Ansible's does."""
    return jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"], autoescape=True)


def called_entry_points(root: Path) -> set[tuple[str, str]]:
    """Return the pairs of role and entry point that some file calls with tasks_from."""
    called = set()
    for path in yaml_files(root):
        for task in tasks(load(path)):
            arguments = module_arguments(task, "include_role", "import_role")
            entry = str(arguments.get("tasks_from", ""))
            if entry and "{{" not in entry:
                called.add((included_role(task), entry.removesuffix(".yml")))
    return called


def entry_points_have_specs(root: Path) -> Iterator[str]:
    """Each entry point has a spec with a sentence, and each spec a file of tasks."""
    called = called_entry_points(root)
    for role in roles(root):
        readme = role / "README.md"
        documented = readme.read_text(encoding="utf-8") if readme.exists() else ""
        for path in sorted((role / "tasks").glob("*.yml")):
            entry = path.stem
            is_entry = entry in ENTRY_POINTS or (role.name, entry) in called
            is_entry |= role.name == "common" and f"`{entry}`" in documented
            if is_entry and entry not in specs(role):
                yield f"{name(path, root)}: the entry point has no argument spec."
        for entry, spec in specs(role).items():
            if not (role / "tasks" / f"{entry}.yml").exists():
                yield f"{name(role, root)}: the spec of {entry} has no file of tasks."
            for part in ("short_description", "description"):
                if not (spec or {}).get(part):
                    yield f"{name(role, root)}: the spec of {entry} has no {part}."
            for option, details in ((spec or {}).get("options") or {}).items():
                if not details.get("description"):
                    yield f"{name(role, root)}: entry point {entry}: {option} has no description."
                if not details.get("type"):
                    yield f"{name(role, root)}: entry point {entry}: {option} has no type."


def tasks_from_has_no_extension(root: Path) -> Iterator[str]:
    """With an extension in tasks_from Ansible skips the argument spec without a word."""
    for path in yaml_files(root):
        for match in TASKS_FROM_EXTENSION.finditer(path.read_text(encoding="utf-8")):
            yield f"{name(path, root)}: {match.group()!r} skips validation; leave the extension out."


def internals_carry_their_role(root: Path) -> Iterator[str]:
    """Names inside a role begin with its own name, so that roles in one play never meet."""
    for role in roles(root):
        internal = f"__{role.name}_"
        for path in role_files(role, "vars"):
            for variable in load_dict(path):
                # What a role finds wrong, and whether it is done, a playbook may read.
                is_answer = variable in {f"{role.name}_problems", f"{role.name}_prepared"}
                if not variable.startswith(internal) and not is_answer:
                    yield f"{name(path, root)}: {variable} does not begin with {internal}."
        for variable in load_dict(role / "defaults" / "main.yml"):
            if not variable.startswith(f"{role.name}_"):
                yield f"{name(role, root)}/defaults/main.yml: {variable} does not begin with {role.name}_."
        for path in role_files(role, "tasks", "handlers"):
            for task in tasks(load(path)):
                for variable in internal_names(task, role.name):
                    if not variable.startswith(internal):
                        yield f"{name(path, root)}: {variable} does not begin with {internal}."
                for variable in module_arguments(task, "set_fact"):
                    is_result = re.fullmatch(rf"{role.name}_(?:\w+_)?result", variable)
                    if variable != "cacheable" and not variable.startswith(internal) and not is_result:
                        yield f"{name(path, root)}: {variable} is set, but is neither {internal}x nor a result."


def internal_names(task: Mapping[str, Any], role: str) -> Iterator[str]:
    """Yield the names that a task makes for its role alone."""
    if isinstance(task.get("register"), str):
        yield task["register"]
    control = task.get("loop_control") or {}
    for key in ("loop_var", "index_var"):
        if key in control:
            yield control[key]
    # What a task hands to an included role is an input of that role; a file of tasks takes those of its own.
    includes_tasks = any(key.endswith(("include_tasks", "import_tasks")) for key in task)
    handed = role if includes_tasks else included_role(task)
    for variable in task.get("vars") or {}:
        if not (handed and variable.startswith(f"{handed}_")):
            yield variable


def roles_know_only_themselves(root: Path) -> Iterator[str]:
    """A role reads no other role's variables, no inventory group and, outside its defaults, no collection-wide input."""
    names = [role.name for role in roles(root)]
    shared = {
        word
        for role in roles(root)
        for path in role_files(role, "defaults")
        for word in re.findall(r"\bdrydock_\w+", path.read_text(encoding="utf-8"))
    }
    for role in roles(root):
        # Steps that all roles share are there to be called.
        others = [other for other in names if other not in {role.name, "common"}]
        patterns = {other: re.compile(rf"(?<![\w.])(?:__)?{other}_\w+") for other in others}
        for path in [
            *role_files(role, "tasks", "handlers", "vars", "defaults"),
            *sorted(role.glob("templates/**/*.j2")),
        ]:
            text = path.read_text(encoding="utf-8")
            for other, pattern in patterns.items():
                for word in sorted(set(pattern.findall(uncommented(text)))):
                    # registry_auth_x is no variable of a role `registry`.
                    if not any(
                        word.lstrip("_").startswith(f"{longer}_") for longer in names if len(longer) > len(other)
                    ):
                        yield f"{name(path, root)}: {word} belongs to the role {other}."
            for word in sorted(set(re.findall(r"\b(?:groups\[|groups\.|group_names\b)", uncommented(text)))):
                yield f"{name(path, root)}: {word} names inventory groups; only playbooks may."
            if path.parent.name != "defaults":
                for word in sorted(shared & set(re.findall(r"\bdrydock_\w+", uncommented(text)))):
                    yield f"{name(path, root)}: {word} is read outside the role's defaults."


def uncommented(text: str) -> str:
    """Drop the lines of YAML that are comments, and sentences that messages put in front of the user."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return "\n".join(re.sub(r"(?:fail_msg|msg|success_msg):.*", "", line) for line in lines)


def roles_leave_play_keywords(root: Path) -> Iterator[str]:
    """No tags and no become in roles: both belong to the play."""
    for role in roles(root):
        for path in role_files(role, "tasks", "handlers"):
            for task in tasks(load(path)):
                # On the controller a task needs no other user, whatever the play says.
                is_local = task.get("delegate_to") == "localhost" and task.get("become") is False
                for keyword in ("tags", "become", "become_user"):
                    if keyword in task and not (keyword == "become" and is_local):
                        yield f"{name(path, root)}: task {task.get('name')!r} has {keyword}, which belongs to the play."


def nothing_ignores_errors(root: Path) -> Iterator[str]:
    """ignore_errors hides what went wrong; failed_when says what may."""
    for path in yaml_files(root):
        for mapping in mappings(load(path)):
            if "ignore_errors" in mapping:
                yield f"{name(path, root)}: {mapping.get('name', 'a task')!r} has ignore_errors."


def modes_are_quoted(root: Path) -> Iterator[str]:
    """A file mode is a string of four digits: YAML reads 0640 as 416 and 640 as something else again."""
    for path in yaml_files(root):
        for mapping in mappings(load(path)):
            mode = mapping.get("mode")
            if isinstance(mode, int) or (isinstance(mode, str) and re.fullmatch(r"[0-7]{1,3}", mode)):
                yield f"{name(path, root)}: mode {mode!r} is to be a quoted string such as '0640'."


def notifications_are_heard(root: Path) -> Iterator[str]:
    """A handler that nobody defines is an error when the role is used alone."""
    for role in roles(root):
        heard: set[str] = set()
        for path in role_files(role, "handlers"):
            for handler in tasks(load(path)):
                heard |= {str(handler.get("name")), *strings(handler.get("listen"))}
        for path in role_files(role, "tasks", "handlers"):
            for task in tasks(load(path)):
                for topic in strings(task.get("notify")):
                    if topic not in heard:
                        yield f"{name(path, root)}: no handler of the role hears {topic!r}."


def strings(value: Any) -> list[str]:
    """Return what Ansible takes as one string or a list of them as a list."""
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def roles_have_readmes(root: Path) -> Iterator[str]:
    """Each role's README shows how to use the role by its full name."""
    for role in roles(root):
        readme = role / "README.md"
        if not readme.exists():
            yield f"{name(role, root)}: has no README.md."
        elif not re.search(
            rf"```ya?ml\n[^`]*\b{re.escape(COLLECTION)}\.{role.name}\b", readme.read_text(encoding="utf-8")
        ):
            yield f"{name(readme, root)}: has no YAML example with {COLLECTION}.{role.name}."


def templates_compile(root: Path) -> Iterator[str]:
    """Each template is Jinja, with filters and tests that exist."""
    for path in files(root):
        if path.suffix != ".j2":
            continue
        try:
            tree = templates_environment().parse(path.read_text(encoding="utf-8"))
        except jinja2.TemplateSyntaxError as error:
            yield f"{name(path, root)}:{error.lineno}: {error.message}"
            continue
        for node in tree.find_all(jinja2.nodes.Filter):
            if not filter_exists(node.name, root):
                yield f"{name(path, root)}:{node.lineno}: there is no filter {node.name}."


@cache
def builtin_filters() -> frozenset[str]:
    """Return the names of Jinja's and Ansible's own filters."""
    found = set(jinja2.Environment(autoescape=True).filters)
    for path in Path(next(iter(ansible_filters.__path__))).glob("*.y*ml"):
        found.add(path.stem)
    return frozenset(found)


def filter_exists(full_name: str, root: Path) -> bool:
    """Tell whether a filter is Jinja's, Ansible's, this collection's or an installed collection's."""
    short = full_name.removeprefix("ansible.builtin.")
    if "." not in short:
        return short in builtin_filters()
    namespace, collection, short = full_name.split(".")
    folders = [Path(entry) / "ansible_collections" / namespace / collection for entry in sys.path]
    if f"{namespace}.{collection}" == COLLECTION:
        folders = [root]
    names = (f"{short}.py", f"{short}.yml", f"{short}.yaml")
    return any((folder / "plugins" / "filter" / file).exists() for folder in folders for file in names)


# --- Plugins -----------------------------------------------------------------------------------------------------


def plugin_files(root: Path, kind: str) -> list[Path]:
    """Return the Python files of one kind of plugins."""
    return sorted(path for path in (root / "plugins" / kind).glob("*.py") if path.stem != "__init__")


def documentation(path: Path) -> dict[str, Any]:
    """Return the parsed DOCUMENTATION, EXAMPLES and RETURN of a plugin, from its file or the YAML beside it."""
    if path.suffix == ".yml":
        return load_dict(path)
    found: dict[str, Any] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            target = node.targets[0].id
            if target in {"DOCUMENTATION", "EXAMPLES", "RETURN"}:
                found[target] = yaml.load(ast.literal_eval(node.value), Loader)  # noqa: S506 (a SafeLoader)
    return found


def load_plugin(path: Path) -> Any:
    """Import a plugin by its path."""
    spec = importlib.util.spec_from_file_location(f"_repository_rules_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Captured(Exception):
    """Carries what a module hands to AnsibleModule."""


def argument_spec(path: Path) -> dict[str, Any]:
    """Return the argument_spec that a module hands to AnsibleModule, or that of the action of the same name that does its work."""
    action = path.parents[1] / "action" / path.name
    own: dict[str, Any] | None = getattr(load_plugin(action), "ARGUMENT_SPEC", None) if action.exists() else None
    if own is not None:
        return own

    def capture(_self: object, argument_spec: dict[str, Any], **_: Any) -> None:
        raise Captured(argument_spec)

    with mock.patch("ansible.module_utils.basic.AnsibleModule.__init__", capture):
        try:
            load_plugin(path).main()
        except Captured as captured:
            found: dict[str, Any] = captured.args[0]
            return found
    raise AssertionError(f"{path.name} makes no AnsibleModule")


def plugins_are_documented(root: Path) -> Iterator[str]:
    """Every module and filter has documentation that parses and says what the code does."""
    for path in plugin_files(root, "modules"):
        where = name(path, root)
        try:
            found = documentation(path)
        except yaml.YAMLError as error:
            yield f"{where}: the documentation is no YAML: {error}"
            continue
        yield from incomplete_documentation(where, found, path.stem, "module")
        documented = found.get("DOCUMENTATION") or {}
        options = {**shared_options(root, documented), **(documented.get("options") or {})}
        yield from differing_options(where, options, argument_spec(path))
    for path in plugin_files(root, "filter"):
        for filter_name, function in load_plugin(path).FilterModule().filters().items():
            yield from filter_documentation(root, path, filter_name, function)


def shared_options(root: Path, documented: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a module's documentation takes from the collection's own fragments."""
    options: dict[str, Any] = {}
    for fragment in documented.get("extends_documentation_fragment") or []:
        path = root / "plugins/doc_fragments" / f"{fragment.rpartition('.')[2]}.py"
        if fragment.startswith("drydock.registry.") and path.exists():
            options.update(yaml.safe_load(load_plugin(path).ModuleDocFragment.DOCUMENTATION)["options"])
    return options


def incomplete_documentation(where: str, found: Mapping[str, Any], plugin: str, key: str) -> Iterator[str]:
    """Name the parts that are missing."""
    for part in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
        if not found.get(part):
            yield f"{where}: {plugin} has no {part}."
    documented = found.get("DOCUMENTATION") or {}
    if documented and documented.get(key) != plugin:
        yield f"{where}: the documentation's {key} is {documented.get(key)!r}, not {plugin!r}."


def filters_import_when_called(root: Path) -> Iterator[str]:
    """Filters import what they work with when called: to find one Ansible imports the files of all, anew for nearly every task."""
    for path in plugin_files(root, "filter"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and ".module_utils" in (node.module or ""):
                yield f"{name(path, root)}:{node.lineno}: imports {node.module} at its top; do so in the function."


def filter_documentation(root: Path, path: Path, filter_name: str, function: Callable[..., Any]) -> Iterator[str]:
    """Compare a filter's documentation with its function's arguments."""
    beside = path.with_name(f"{filter_name}.yml")
    source = beside if beside.exists() else path
    try:
        found = documentation(source)
    except yaml.YAMLError as error:
        yield f"{name(source, root)}: the documentation is no YAML: {error}"
        return
    yield from incomplete_documentation(name(source, root), found, filter_name, "name")
    options = set((found.get("DOCUMENTATION") or {}).get("options") or {}) - {"_input"}
    arguments = set(list(inspect.signature(function).parameters)[1:])
    for option in sorted(options ^ arguments):
        side = "documented but no argument" if option in options else "an argument but not documented"
        yield f"{name(source, root)}: {filter_name}: {option} is {side}."


def differing_options(where: str, documented: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    """Compare documented options with an argument spec, suboptions too."""
    for option in sorted(set(documented) ^ set(spec)):
        side = "documented but not in the argument_spec" if option in documented else "not documented"
        yield f"{where}: {option} is {side}."
    for option in sorted(set(documented) & set(spec)):
        said, done = documented[option], spec[option]
        if not said.get("description"):
            yield f"{where}: {option} has no description."
        for key, fallback in (
            ("type", "str"),
            ("required", False),
            ("default", None),
            ("choices", None),
            ("elements", None),
            ("aliases", []),
        ):
            left, right = said.get(key, fallback), done.get(key, fallback)
            left, right = (list(value) if isinstance(value, tuple) else value for value in (left, right))
            if not same(left, right):
                yield f"{where}: {option}: {key} is {left!r} in the documentation and {right!r} in the argument_spec."
        yield from differing_options(f"{where}: {option}", said.get("suboptions") or {}, done.get("options") or {})


def nothing_is_newer_than_the_collection(root: Path) -> Iterator[str]:
    """version_added is a version that is out, or the one in galaxy.yml, which comes out next."""
    version = str(load_dict(root / "galaxy.yml").get("version", "0.1.0"))
    for path, text in text_files(root / "plugins") if (root / "plugins").is_dir() else []:
        for match in re.finditer(r"""^ *version_added: *["']?([\d.]+)""", text, re.MULTILINE):
            if release(match[1]) > release(version):
                yield f"{name(path, root)}: version_added is {match[1]}, and galaxy.yml says {version}."


def release(version: str) -> tuple[int, ...]:
    """Return a version as numbers."""
    return tuple(int(part) for part in version.split("."))


# --- The repository ----------------------------------------------------------------------------------------------


def dependencies_agree(root: Path) -> Iterator[str]:
    """galaxy.yml and requirements.yml ask for the same collections."""
    galaxy = load_dict(root / "galaxy.yml").get("dependencies") or {}
    listed = load_dict(root / "requirements.yml").get("collections") or []
    required = {entry["name"]: entry.get("version", "*") for entry in listed}
    for collection in sorted(set(galaxy) | set(required)):
        if galaxy.get(collection) != required.get(collection):
            yield (
                f"{collection} is {galaxy.get(collection)!r} in galaxy.yml "
                f"and {required.get(collection)!r} in requirements.yml."
            )


def nothing_names_a_machine(root: Path) -> Iterator[str]:
    """No path of a developer's machine and no package mirror: the user's machine has its own."""
    for path, text in text_files(root):
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, what in ((MACHINE_PATH, "a path of one machine"), (PACKAGE_MIRROR, "a package mirror")):
                match = pattern.search(line)
                if match and (pattern is MACHINE_PATH or name(path, root) != DEFAULT_INDEX):
                    yield f"{name(path, root)}:{number}: {match.group()!r} is {what}."


def yaml_begins_with_a_marker(root: Path) -> Iterator[str]:
    """Every YAML file begins with ---."""
    for path in yaml_files(root):
        if path.read_text(encoding="utf-8").partition("\n")[0].rstrip() != "---":
            yield f"{name(path, root)}: does not begin with ---."


def python_says_its_licence(root: Path) -> Iterator[str]:
    """Every Python file has the SPDX line near its top; those that are installed name the authors too."""
    for path, text in text_files(root):
        lines = text.splitlines()
        is_script = bool(lines) and lines[0].startswith("#!") and "python" in lines[0]
        if not lines or not (path.suffix == ".py" or is_script):
            continue
        head = lines[:5]
        if "# SPDX-License-Identifier: GPL-3.0-or-later" not in head:
            yield f"{name(path, root)}: has no SPDX line."
        elif "plugins" in path.relative_to(root).parts[:1]:
            for line in ("# Copyright: The drydock authors", "# GNU General Public License v3.0+"):
                if not any(candidate.startswith(line) for candidate in head):
                    yield f"{name(path, root)}: lacks the line {line!r}."


def changelog_fragments_parse(root: Path) -> Iterator[str]:
    """Each fragment is a mapping of known sections to lists of sentences."""
    for path in sorted((root / "changelogs" / "fragments").glob("*.y*ml")):
        try:
            content = load(path)
        except yaml.YAMLError as error:
            yield f"{name(path, root)}: is no YAML: {error}"
            continue
        if not isinstance(content, dict) or not content:
            yield f"{name(path, root)}: is no mapping of sections."
            continue
        for section, entries in content.items():
            if section not in CHANGELOG_SECTIONS:
                yield f"{name(path, root)}: there is no section {section!r}."
            elif section == "release_summary":
                if not isinstance(entries, str):
                    yield f"{name(path, root)}: {section} is to be one text."
            elif not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
                yield f"{name(path, root)}: {section} is to be a list of sentences."


def readme_is_two_screens(root: Path) -> Iterator[str]:
    """The README has at most 1,200 words; the rest belongs into docs/."""
    readme = root / "README.md"
    words = len(readme.read_text(encoding="utf-8").split()) if readme.exists() else 0
    if words > 1200:
        yield f"README.md: has {words} words."


def commands_are_listed(root: Path) -> Iterator[str]:
    """docs/playbooks.md names every playbook and every target of make that says what it does."""
    page = root / "docs/playbooks.md"
    listed = set(re.findall(r"`(make [\w-]+|\w+)`", page.read_text(encoding="utf-8"))) if page.exists() else set()
    makefile = root / "Makefile"
    targets = (
        re.findall(r"^([\w-]+):.*## ", makefile.read_text(encoding="utf-8"), re.MULTILINE) if makefile.exists() else []
    )
    for command in [
        *(path.stem for path in (root / "playbooks").glob("*.yml")),
        *(f"make {target}" for target in targets),
    ]:
        if command not in listed and command != "make help":
            yield f"docs/playbooks.md: lacks `{command}`."


RULES: tuple[Rule, ...] = (
    specs_equal_defaults,
    entry_points_have_specs,
    tasks_from_has_no_extension,
    internals_carry_their_role,
    roles_know_only_themselves,
    roles_leave_play_keywords,
    nothing_ignores_errors,
    modes_are_quoted,
    notifications_are_heard,
    roles_have_readmes,
    templates_compile,
    plugins_are_documented,
    filters_import_when_called,
    nothing_is_newer_than_the_collection,
    dependencies_agree,
    nothing_names_a_machine,
    yaml_begins_with_a_marker,
    python_says_its_licence,
    changelog_fragments_parse,
    readme_is_two_screens,
    commands_are_listed,
)
