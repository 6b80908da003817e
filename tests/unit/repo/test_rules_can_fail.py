# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule finds what it is there for: small repositories, one mistake each."""

from __future__ import annotations

from pathlib import Path

import pytest
from repository_rules import RULES, Rule, load, tasks

Files = dict[str, str]

HEADER = """\
# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""
SPEC = """\
---
argument_specs:
  main:
    short_description: Make a thing
    description: One of the given size.
    options:
      thing_size_mib:
        type: int
        default: 5
        description: Its size.
"""
COMPUTED = SPEC.replace("default: 5", "").replace("Its size.", "Its size. By default what drydock_size says.")
TASKS = """\
---
- name: Make the thing
  ansible.builtin.template:
    src: thing.j2
    dest: /etc/thing
    mode: "0644"
  register: __thing_file
  notify: Thing changed
- name: Say what was made
  ansible.builtin.set_fact:
    thing_result: {}
"""
MODULE = (
    HEADER
    + '''\
DOCUMENTATION = """
module: measure
short_description: Measure a thing
options:
  size:
    description: Its size.
    type: int
    default: 5
"""
EXAMPLES = """
- drydock.registry.measure:
"""
RETURN = """
size: {description: The size., type: int, returned: always}
"""
from ansible.module_utils.basic import AnsibleModule


def main():
    AnsibleModule(argument_spec={"size": {"type": "int", "default": 5}})
'''
)
FRAGMENT = '''class ModuleDocFragment:
    DOCUMENTATION = """
options:
  colour:
    description: X.
"""
'''
FILTER = (
    HEADER
    + '''\
DOCUMENTATION = """
name: double
options:
  _input: {description: A number., type: int}
  times: {description: How often., type: int}
"""
EXAMPLES = """
four: "{{ 2 | drydock.registry.double }}"
"""
RETURN = """
_value: {description: The number., type: int}
"""


class FilterModule:
    def filters(self):
        return {"double": lambda number, times=1: number * 2**times}
'''
)
GOOD: Files = {
    "galaxy.yml": '---\ndependencies:\n  community.docker: ">=4"\n',
    "requirements.yml": '---\ncollections:\n  - name: community.docker\n    version: ">=4"\n',
    "roles/thing/defaults/main.yml": "---\nthing_size_mib: 5\n",
    "roles/thing/meta/argument_specs.yml": SPEC,
    "roles/thing/tasks/main.yml": TASKS,
    "roles/thing/handlers/main.yml": "---\n- name: Reload\n  ansible.builtin.debug:\n  listen: Thing changed\n",
    "roles/thing/vars/main.yml": "---\n__thing_name: x\n",
    "roles/thing/templates/thing.j2": "{{ thing_size_mib | int | drydock.registry.double }}\n",
    "roles/thing/README.md": "```yaml\n- roles:\n    - drydock.registry.thing\n```\n",
    "roles/other/README.md": "```yaml\n- roles:\n    - drydock.registry.other\n```\n",
    "plugins/modules/measure.py": MODULE,
    "plugins/filter/double.py": FILTER,
    "changelogs/fragments/1.yml": "---\nminor_changes:\n  - thing - it is there.\n",
}
ROLE = "roles/thing/"
TASK = f"{ROLE}tasks/main.yml"

# The rule, what is put in place of the good files, and what the rule's sentence holds.
BAD: list[tuple[str, Files, str]] = [
    ("specs_equal_defaults", {f"{ROLE}defaults/main.yml": "---\nthing_size_mib: 6\n"}, "is 5, in defaults/main.yml 6"),
    (
        "specs_equal_defaults",
        {f"{ROLE}defaults/main.yml": '---\nthing_size_mib: "5"\n'},
        "is 5, in defaults/main.yml '5'",
    ),
    ("specs_equal_defaults", {f"{ROLE}defaults/main.yml": "---\n{}\n"}, "that defaults/main.yml lacks"),
    (
        "specs_equal_defaults",
        {f"{ROLE}defaults/main.yml": "---\nthing_size_mib: 5\nthing_new: 1\n"},
        "in no argument spec",
    ),
    (
        "specs_equal_defaults",
        {f"{ROLE}meta/argument_specs.yml": SPEC.replace("default: 5", "required: true")},
        "lacks the default 5",
    ),
    (
        "specs_equal_defaults",
        {f"{ROLE}meta/argument_specs.yml": SPEC.replace("default: 5", ""), f"{ROLE}defaults/main.yml": "---\n{}\n"},
        "neither required",
    ),
    (
        "specs_equal_defaults",
        {f"{ROLE}defaults/main.yml": "---\nthing_size_mib: '{{ drydock_size }}'\n"},
        "to be described, not repeated",
    ),
    (
        "specs_equal_defaults",
        {
            f"{ROLE}defaults/main.yml": "---\nthing_size_mib: '{{ drydock_size }}'\n",
            f"{ROLE}meta/argument_specs.yml": COMPUTED.replace("drydock_size", "it"),
        },
        "that names drydock_size",
    ),
    (
        "entry_points_have_specs",
        {f"{ROLE}meta/argument_specs.yml": SPEC.replace("    description: One of the given size.\n", "")},
        "has no description",
    ),
    (
        "entry_points_have_specs",
        {f"{ROLE}tasks/remove.yml": "---\n[]\n"},
        "remove.yml: the entry point has no argument spec",
    ),
    (
        "entry_points_have_specs",
        {
            f"{ROLE}tasks/extra.yml": "---\n[]\n",
            "playbooks/x.yml": "---\n- hosts: all\n  tasks:\n    - name: X\n      ansible.builtin.include_role:\n"
            "        name: drydock.registry.thing\n        tasks_from: extra\n",
        },
        "extra.yml: the entry point has no argument spec",
    ),
    (
        "entry_points_have_specs",
        {"roles/common/tasks/facts.yml": "---\n[]\n", "roles/common/README.md": "| `facts` | gathers |\n"},
        "facts.yml: the entry point has no argument spec",
    ),
    (
        "entry_points_have_specs",
        {f"{ROLE}meta/argument_specs.yml": SPEC.replace("main:", "man:")},
        "of man has no file",
    ),
    (
        "entry_points_have_specs",
        {f"{ROLE}meta/argument_specs.yml": SPEC.replace("        type: int\n", "")},
        "has no type",
    ),
    ("tasks_from_has_no_extension", {"playbooks/x.yml": "---\n- tasks_from: extra.yml\n"}, "leave the extension out"),
    ("tasks_from_has_no_extension", {"playbooks/x.yml": "---\n- include_role: name=x tasks_from=x.yaml\n"}, "leave"),
    ("internals_carry_their_role", {TASK: TASKS.replace("__thing_file", "file")}, "file does not begin with __thing_"),
    ("internals_carry_their_role", {TASK: TASKS.replace("thing_result", "result")}, "result is set"),
    (
        "internals_carry_their_role",
        {f"{ROLE}vars/main.yml": "---\nthing_x: 1\n"},
        "thing_x does not begin with __thing_",
    ),
    ("internals_carry_their_role", {f"{ROLE}defaults/main.yml": "---\nsize: 1\n"}, "size does not begin with thing_"),
    (
        "internals_carry_their_role",
        {TASK: "---\n- block:\n    - debug:\n      loop: []\n      loop_control: {loop_var: entry}\n"},
        "entry does not begin with __thing_",
    ),
    ("internals_carry_their_role", {TASK: "---\n- debug:\n  vars: {x: 1}\n"}, "x does not begin with __thing_"),
    (
        "roles_know_only_themselves",
        {TASK: "---\n- debug:\n    var: other_size\n"},
        "other_size belongs to the role other",
    ),
    (
        "roles_know_only_themselves",
        {f"{ROLE}templates/a/b.j2": "{{ other_size }}"},
        "other_size belongs to the role other",
    ),
    ("roles_know_only_themselves", {TASK: "---\n- debug:\n    var: groups['web']\n"}, "names inventory groups"),
    (
        "roles_know_only_themselves",
        {f"{ROLE}defaults/main.yml": "---\nthing_a: '{{ drydock_a }}'\n", TASK: "---\n- debug:\n    var: drydock_a\n"},
        "drydock_a is read outside",
    ),
    ("roles_leave_play_keywords", {TASK: "---\n- name: X\n  debug:\n  tags: [x]\n"}, "'X' has tags"),
    (
        "roles_leave_play_keywords",
        {TASK: "---\n- name: X\n  block:\n    - name: Y\n      become: true\n"},
        "'Y' has become",
    ),
    ("nothing_ignores_errors", {"playbooks/x.yml": "---\n- name: X\n  ignore_errors: true\n"}, "'X' has ignore_errors"),
    ("modes_are_quoted", {TASK: "---\n- copy:\n    mode: 0644\n"}, "is to be a quoted string"),
    ("modes_are_quoted", {TASK: '---\n- copy:\n    mode: "644"\n'}, "is to be a quoted string"),
    ("notifications_are_heard", {TASK: "---\n- debug:\n  notify: [Nobody]\n"}, "hears 'Nobody'"),
    ("roles_have_readmes", {f"{ROLE}README.md": "Use drydock.registry.thing.\n"}, "has no YAML example"),
    ("roles_have_readmes", {"roles/bare/tasks/main.yml": "---\n[]\n"}, "bare: has no README.md"),
    ("templates_compile", {f"{ROLE}templates/thing.j2": "{% if x %}"}, "thing.j2:1:"),
    ("templates_compile", {f"{ROLE}templates/thing.j2": "\n{{ x | tojsn }}"}, "thing.j2:2: there is no filter tojsn"),
    (
        "templates_compile",
        {f"{ROLE}templates/thing.j2": "{{ x | drydock.registry.triple }}"},
        "no filter drydock.registry.triple",
    ),
    (
        "plugins_are_documented",
        {"plugins/modules/measure.py": MODULE.replace("EXAMPLES", "SAMPLES")},
        "has no EXAMPLES",
    ),
    (
        "plugins_are_documented",
        {"plugins/modules/measure.py": MODULE.replace("module: measure", "module: x")},
        "module is 'x'",
    ),
    ("plugins_are_documented", {"plugins/modules/measure.py": MODULE.replace("options:", "options: [")}, "is no YAML"),
    (
        "plugins_are_documented",
        {"plugins/modules/measure.py": MODULE.replace('"default": 5', '"default": 6')},
        "default is 5",
    ),
    (
        "plugins_are_documented",
        {"plugins/modules/measure.py": MODULE.replace('{"size"', '{"weight"')},
        "weight is not documented",
    ),
    (
        "plugins_are_documented",
        {
            "plugins/modules/measure.py": MODULE.replace(
                "options:", "extends_documentation_fragment: [drydock.registry.common]\noptions:"
            ),
            "plugins/doc_fragments/common.py": FRAGMENT,
        },
        "colour is documented but",
    ),
    (
        "plugins_are_documented",
        {"plugins/filter/double.py": FILTER.replace("  times:", "  often:")},
        "often is documented but",
    ),
    (
        "plugins_are_documented",
        {"plugins/filter/double.py": FILTER.replace('{"double"', '{"twice"')},
        "name is 'double'",
    ),
    (
        "filters_import_when_called",
        {
            "plugins/filter/double.py": f"{FILTER}\nfrom ansible_collections.drydock.registry.plugins.module_utils import _double\n"
        },
        "imports ansible_collections.drydock.registry.plugins.module_utils at its top",
    ),
    (
        "nothing_is_newer_than_the_collection",
        {"plugins/modules/measure.py": MODULE.replace("options:", "version_added: 0.10.0\noptions:")},
        "version_added is 0.10.0, and galaxy.yml says 0.1.0",
    ),
    ("dependencies_agree", {"requirements.yml": "---\ncollections: []\n"}, "community.docker is '>=4' in galaxy.yml"),
    ("nothing_names_a_machine", {"docs/x.md": "see /ro" + "ot/notes\n"}, "is a path of one machine"),
    ("nothing_names_a_machine", {"docs/x.md": "see /wo" + "rk/notes\n"}, "is a path of one machine"),
    ("nothing_names_a_machine", {"docs/x.md": "deb http://deb.debi" + "an.org/debian x main\n"}, "is a package mirror"),
    ("yaml_begins_with_a_marker", {"playbooks/x.yml": "- hosts: all\n"}, "does not begin with ---"),
    ("python_says_its_licence", {"tests/x.py": '"""X."""\n'}, "has no SPDX line"),
    ("python_says_its_licence", {"tests/x": "#!/usr/bin/env python3\n"}, "has no SPDX line"),
    (
        "python_says_its_licence",
        {"plugins/modules/x.py": "# SPDX-License-Identifier: GPL-3.0-or-later\n"},
        "lacks the line",
    ),
    ("changelog_fragments_parse", {"changelogs/fragments/1.yml": "---\nchanges: [x]\n"}, "no section 'changes'"),
    ("changelog_fragments_parse", {"changelogs/fragments/1.yml": "---\nbugfixes: x\n"}, "list of sentences"),
    ("changelog_fragments_parse", {"changelogs/fragments/1.yml": "---\n- x: [\n"}, "is no YAML"),
    ("readme_is_two_screens", {"README.md": "word " * 1201}, "has 1201 words"),
    ("commands_are_listed", {"playbooks/site.yml": "---\n[]\n"}, "lacks `site`"),
    ("commands_are_listed", {"Makefile": "up: ## Run it\n", "docs/playbooks.md": "`make down`\n"}, "lacks `make up`"),
]
BY_NAME = {rule.__name__: rule for rule in RULES}


def problems(rule: Rule, root: Path, content: Files) -> list[str]:
    """Write a repository and return what the rule says of it."""
    for path, text in content.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return list(rule(root))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_repository_has_no_problem(rule: Rule, tmp_path: Path) -> None:
    assert problems(rule, tmp_path, GOOD) == []


@pytest.mark.parametrize(("rule", "mistake", "expected"), BAD, ids=[f"{rule}: {text}" for rule, _, text in BAD])
def test_a_mistake_is_found(rule: str, mistake: Files, expected: str, tmp_path: Path) -> None:
    found = problems(BY_NAME[rule], tmp_path, GOOD | mistake)
    assert any(expected in problem for problem in found), found


def test_a_computed_default_is_described(tmp_path: Path) -> None:
    described = {
        f"{ROLE}defaults/main.yml": "---\nthing_size_mib: '{{ drydock_size }}'\n",
        f"{ROLE}meta/argument_specs.yml": COMPUTED,
    }
    assert problems(BY_NAME["specs_equal_defaults"], tmp_path, GOOD | described) == []


def test_each_rule_has_a_mistake() -> None:
    assert {rule for rule, _, _ in BAD} == set(BY_NAME)


def test_ansible_s_own_tags_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_text("---\n- name: !unsafe x\n  vars: {a: !vault y}\n", encoding="utf-8")
    assert list(tasks(load(path))) == [{"name": "x", "vars": {"a": "y"}}]
