# Copyright: The drydock authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tags and images go: by rules, or because somebody names them. Pure functions over what a storage holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple, Optional

from drydock_store.inventory import Inventory, Repository, Tagged
from drydock_store.layout import attached_to, repository_matches
from drydock_store.pulls import Pulls

ORDERS = ("pushed", "semver", "date")
DAY = 86400
GIB = 1024**3

_SEMVER = re.compile(
    r"v?(?P<numbers>\d+(?:\.\d+){0,3})(?:-(?P<before>[0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?",
)
_DATE = re.compile(r"(?<!\d)(\d{4})[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?:[-_.T]?(\d{2,6}))?(?!\d)")


@dataclass(frozen=True)
class Rule:
    """What to keep of some tags of some repositories."""

    repositories: tuple[str, ...]
    tags: tuple[str, ...] = ("*",)
    keep_tags: tuple[str, ...] = ()
    keep_newest: Optional[int] = None
    keep_pushed_within_days: Optional[int] = None
    keep_pulled_within_days: Optional[int] = None
    keep_used_gib: Optional[int] = None
    order: str = "pushed"
    untagged_after_days: Optional[int] = None

    @property
    def decides(self) -> bool:
        """Tell whether it says anything about tags."""
        kept_within = self.keep_pushed_within_days is not None or self.keep_pulled_within_days is not None
        return bool(self.keep_tags) or self.keep_newest is not None or kept_within or self.keep_used_gib is not None

    def names(self, repository: str) -> bool:
        """Tell whether it is about a repository."""
        return any(repository_matches(pattern, repository) for pattern in self.repositories)


class GoingTag(NamedTuple):
    """A tag that goes."""

    repository: str
    tag: str
    digest: str
    reason: str


class GoingImage(NamedTuple):
    """An image that goes."""

    repository: str
    digest: str
    reason: str


@dataclass
class Removal:
    """What goes."""

    tags: list[GoingTag] = field(default_factory=list)
    images: list[GoingImage] = field(default_factory=list)
    # Repositories of which nothing stays, not even links to layers.
    repositories: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # Whether something stays for a reason that somebody has to mend; time alone mends what is not known of pulls yet.
    unfinished: bool = False

    def leave(self, why: str) -> None:
        """Say what has to stay."""
        self.problems.append(why)
        self.unfinished = True


def _version(tag: str) -> Optional[tuple[object, ...]]:
    found = _SEMVER.fullmatch(tag)
    if not found:
        return None
    numbers = [int(number) for number in found["numbers"].split(".")]
    # Numbers before words, and what comes before a release before the release.
    before = tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in (found["before"] or "").split(".") if part
    )
    return (*numbers, *[0] * (4 - len(numbers)), not before, before)


def _date(tag: str) -> Optional[tuple[object, ...]]:
    found = _DATE.search(tag)
    return tuple(part or "" for part in found.groups()) if found else None


def _kept(rule: Rule, tags: Mapping[str, Tagged], now: float) -> set[str]:
    """Return which of the tags that a rule is about it keeps."""
    kept = {tag for tag in tags if any(fnmatchcase(tag, pattern) for pattern in rule.keep_tags)}
    if rule.keep_pushed_within_days is not None:
        kept |= {tag for tag in tags if now - tags[tag].pushed < rule.keep_pushed_within_days * DAY}
    if rule.keep_newest is None:
        return kept
    ranks: dict[str, tuple[object, ...]] = {}
    for tag, tagged in tags.items():
        rank = (tagged.pushed,) if rule.order == "pushed" else _version(tag) if rule.order == "semver" else _date(tag)
        if rank is None:
            # Not of the kind that the rule puts in order.
            kept.add(tag)
        else:
            ranks[tag] = rank
    # An image with several tags is one.
    images: dict[str, None] = {}
    for tag in sorted(ranks, key=lambda one: (ranks[one], one), reverse=True):
        images[tags[tag].digest] = None
    newest = set(list(images)[: rule.keep_newest])
    return kept | {tag for tag in ranks if tags[tag].digest in newest}


def _pulled(rule: Rule, found: Inventory, name: str, about: Iterable[str], pulls: Pulls) -> set[str]:
    """Return the tags that a rule keeps since they were pulled lately. As long as nobody can know, all were.

    What was pushed lately has not had as long to be pulled, and stays as well.
    """
    if rule.keep_pulled_within_days is None:
        return set()
    begin = found.time - rule.keep_pulled_within_days * DAY
    if not pulls.known_since(begin):
        return set(about)
    repository = found.repositories[name]
    return {
        tag for tag in about if max(repository.tags[tag].pushed, pulls.of_tag(name, repository, tag)[0] or 0) > begin
    }


def _rule_of(tag: str, rules: Iterable[tuple[int, Rule]]) -> Optional[tuple[int, Rule]]:
    """Return the first rule that fits a tag, and its number."""
    return next((one for one in rules if any(fnmatchcase(tag, pattern) for pattern in one[1].tags)), None)


def _rules_of(name: str, rules: Sequence[Rule]) -> list[tuple[int, Rule]]:
    """Return the rules that are about a repository, with their numbers."""
    return [(number, rule) for number, rule in enumerate(rules, 1) if rule.names(name)]


def _used(found: Inventory, rules: Sequence[Rule], pulls: Pulls) -> set[tuple[str, str]]:
    """Return the tags that rules keep since they were used last, of all repositories, until their images hold too much together."""
    of_rules: dict[int, list[tuple[float, str, str]]] = {}
    for name, repository in found.repositories.items():
        of_repository = _rules_of(name, rules)
        for tag, tagged in repository.tags.items():
            number, rule = _rule_of(tag, of_repository) or (0, None)
            if rule and rule.keep_used_gib is not None and not attached_to(tag):
                pulled = pulls.of_tag(name, repository, tag)[0]
                of_rules.setdefault(number, []).append((max(tagged.pushed, pulled or 0), name, tag))
    kept: set[tuple[str, str]] = set()
    for number, tags in of_rules.items():
        room = (rules[number - 1].keep_used_gib or 0) * GIB
        counted: set[str] = set()
        for _at, name, tag in sorted(tags, reverse=True):
            # Images share layers, and of an image for several platforms not all may be here.
            more = {
                one for one in found.below(found.repositories[name].tags[tag].digest) if one in found.blobs
            } - counted
            room -= sum(found.blobs[one][0] for one in more)
            if room < 0:
                break
            counted |= more
            kept.add((name, tag))
    return kept


def _unknown_pulls(found: Inventory, rules: Sequence[Rule], pulls: Pulls) -> Iterable[str]:
    for number, rule in enumerate(rules, 1):
        days = rule.keep_pulled_within_days
        if days is not None and not pulls.known_since(found.time - days * DAY):
            noted = f"pulls have been noted for {(found.time - pulls.since) / DAY:.0f} days"
            known = noted if pulls.since else "nothing notes pulls yet"
            yield f"Rule {number} keeps all its tags so far: it asks for {days} days, and {known}."


def by_rules(found: Inventory, rules: Sequence[Rule], untagged: dict[str, float], pulls: Pulls) -> Removal:
    """Return what goes by the rules. Since when an image has no tag is noted in `untagged`."""
    removal = Removal(problems=list(_unknown_pulls(found, rules, pulls)))
    used = _used(found, rules, pulls)
    seen: dict[str, float] = {}
    for name, repository in sorted(found.repositories.items()):
        of_repository = _rules_of(name, rules)
        if not of_repository:
            continue
        if not _is_clear(found, name, repository, removal):
            continue
        tags: dict[str, str] = {}
        ours: dict[int, dict[str, Tagged]] = {}
        alone: set[str] = set()
        for tag, tagged in repository.tags.items():
            first = _rule_of(tag, of_repository)
            if first and not attached_to(tag):
                ours.setdefault(first[0], {})[tag] = tagged
            elif first and _is_alone(found, repository, tag, first[1]):
                alone.add(tag)
        for number, rule in of_repository:
            about = ours.get(number, {})
            if rule.decides:
                kept = _kept(rule, about, found.time) | _pulled(rule, found, name, about, pulls)
                kept |= {tag for tag in about if (name, tag) in used}
                tags.update({tag: f"rule {number} does not keep it" for tag in about if tag not in kept})
        images: dict[str, str] = {}
        number, rule = of_repository[0]
        led = found.stays(repository)
        for digest, pushed in repository.revisions.items():
            if digest in led:
                continue
            key = f"{name}@{digest}"
            seen[key] = untagged.get(key, found.time)
            days = rule.untagged_after_days
            # A platform is pushed before its index: what is younger than a day may get one.
            if days is not None and found.time - seen[key] >= days * DAY and found.time - pushed >= max(days, 1) * DAY:
                images[digest] = f"rule {number}: it has had no tag for {days} days"
        _close(found, name, repository, tags, images, removal, alone=frozenset(alone))
    untagged.clear()
    untagged.update(seen)
    removal.unmatched = sorted(
        {pattern for rule in rules for pattern in rule.repositories if not _fits(pattern, found)}
    )
    return removal


def _fits(pattern: str, found: Inventory) -> bool:
    return any(repository_matches(pattern, name) for name in found.repositories)


def _is_alone(found: Inventory, repository: Repository, tag: str, rule: Rule) -> bool:
    """Tell whether a rule may take a tag of a signature, since its image is gone altogether."""
    if not rule.decides or any(fnmatchcase(tag, pattern) for pattern in rule.keep_tags):
        return False
    image = attached_to(tag)
    # Some keep the signatures of all images in one repository; most often the image is beside its own.
    return image not in repository.revisions and not any(image in one.revisions for one in found.repositories.values())


def _is_clear(found: Inventory, name: str, repository: Repository, removal: Removal) -> bool:
    """Tell whether it is known what hangs together in a repository."""
    if not found.knows_all(repository):
        removal.leave(f"{name} is left alone: an image of it cannot be read; `check` says which.")
    elif found.hides(name) or any(
        path.startswith(f"repositories/{name}/_manifests/") for path in found.unreadable_links
    ):
        removal.leave(f"{name} is left alone: a link of it cannot be read; `check` says which.")
    else:
        return True
    return False


def by_name(
    found: Inventory, tags: Sequence[str] = (), images: Sequence[str] = (), repositories: Sequence[str] = ()
) -> Removal:
    """Return what goes because somebody names it by patterns: `repository:tag`, `repository@digest` or a repository."""
    removal = Removal()
    used: set[str] = set()
    for name, repository in sorted(found.repositories.items()):
        whole = [pattern for pattern in repositories if repository_matches(pattern, name)]
        if whole:
            used.update(whole)
            removal.repositories.append(name)
            removal.tags += [
                GoingTag(name, tag, tagged.digest, "named") for tag, tagged in sorted(repository.tags.items())
            ]
            removal.images += [GoingImage(name, digest, "named") for digest in sorted(repository.revisions)]
            continue
        going: dict[str, str] = {}
        gone: dict[str, str] = {}
        for pattern in tags:
            of, _separator, wanted = pattern.rpartition(":")
            for tag in repository.tags if repository_matches(of, name) else ():
                if fnmatchcase(tag, wanted):
                    used.add(pattern)
                    going[tag] = "named"
        for pattern in images:
            of, _separator, wanted = pattern.partition("@") if "@" in pattern else pattern.rpartition(":")
            if not repository_matches(of, name):
                continue
            for digest in _named(repository, wanted, by_digest="@" in pattern):
                used.add(pattern)
                gone[digest] = "named"
        if not going and not gone:
            continue
        if gone and not _is_clear(found, name, repository, removal):
            continue
        for tag, tagged in repository.tags.items():
            if tagged.digest in gone:
                going.setdefault(tag, "its image goes")
        _close(found, name, repository, going, gone, removal, last_tags=False)
    removal.unmatched = [pattern for pattern in (*tags, *images, *repositories) if pattern not in used]
    return removal


def _named(repository: Repository, wanted: str, *, by_digest: bool) -> Iterable[str]:
    if by_digest:
        return [wanted] if wanted in repository.revisions else []
    return {tagged.digest for tag, tagged in repository.tags.items() if fnmatchcase(tag, wanted)}


def _close(
    found: Inventory,
    name: str,
    repository: Repository,
    tags: dict[str, str],
    images: dict[str, str],
    removal: Removal,
    *,
    last_tags: bool = True,
    alone: frozenset[str] = frozenset(),
) -> None:
    """Add what goes along: an image with its last tag, platforms, referrers and tags of signatures with their image."""
    tags, images = dict(tags), dict(images)
    revisions = repository.revisions
    by_subject: dict[str, list[str]] = {}
    for digest in revisions:
        subject = found.manifests[digest].subject if digest in found.manifests else ""
        if subject:
            by_subject.setdefault(subject, []).append(digest)
    attached: dict[str, list[str]] = {}
    for tag in repository.tags:
        if attached_to(tag):
            attached.setdefault(attached_to(tag), []).append(tag)
    by_digest: dict[str, list[str]] = {}
    for tag, tagged in repository.tags.items():
        by_digest.setdefault(tagged.digest, []).append(tag)

    if last_tags:
        for tag in list(tags):
            images.setdefault(repository.tags[tag].digest, "its last tag goes")
        # Signatures of what is gone altogether, as long as nobody is just pushing them ahead of their image.
        for of_it in attached.values():
            for tag in alone.intersection(of_it):
                if found.time - repository.tags[tag].time >= DAY:
                    tags.setdefault(tag, "its image is gone")
                    images.setdefault(repository.tags[tag].digest, "its image is gone")
    images = {digest: reason for digest, reason in images.items() if digest in revisions}

    def hangs_on(digest: str) -> Iterable[tuple[str, str]]:
        manifest = found.manifests.get(digest)
        yield from ((child, "its index goes") for child in (manifest.children if manifest else ()))
        yield from ((one, "what it refers to goes") for one in by_subject.get(digest, ()))
        for tag in attached.get(digest, ()):
            yield repository.tags[tag].digest, "what it belongs to goes"

    named = set(images)
    queue = list(images)
    while queue:
        for other, reason in hangs_on(queue.pop()):
            if other in revisions and other not in images:
                images[other] = reason
                queue.append(other)

    # Whatever something that stays leads to stays as well. A tag of a signature holds nothing by itself: its image does.
    def is_held(digest: str) -> bool:
        for tag in by_digest.get(digest, ()):
            if tag in tags:
                continue
            image = attached_to(tag)
            if not image or image not in images:
                return True
        return False

    changed = True
    while changed:
        changed = False
        held = {digest for digest in images if is_held(digest)}
        for digest in revisions:
            if digest not in images:
                held.update(
                    other
                    for other, why in hangs_on(digest)
                    # Who names a signature wants it gone, whatever it belongs to; an index would be broken.
                    if other in images and (last_tags or other not in named or why == "its index goes")
                )
        for digest in held:
            del images[digest]
            changed = True
            if digest in named and not last_tags:
                removal.leave(f"{name}@{digest} stays: an index or a tag leads to it.")
    for digest in images:
        for tag in attached.get(digest, ()):
            tags.setdefault(tag, "its image goes")
    if not last_tags:
        # An image that stays keeps the tags that nobody has named.
        tags = {tag: why for tag, why in tags.items() if why == "named" or repository.tags[tag].digest in images}
    removal.tags += [GoingTag(name, tag, repository.tags[tag].digest, reason) for tag, reason in sorted(tags.items())]
    removal.images += [GoingImage(name, digest, reason) for digest, reason in sorted(images.items())]
