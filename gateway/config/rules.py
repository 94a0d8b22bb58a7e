"""[[rule]]: a site's own values put over the rule books, every mistake and every loosening said."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.wording import shown
from gateway.config.model import RuleConfig
from gateway.config.problems import Report
from gateway.config.toml_lines import TomlPath
from gateway.rules.rulebook import RuleBooks, RuleError, SiteRule, shipped


def site_rules(entries: Iterable[tuple[TomlPath, RuleConfig]], report: Report) -> RuleBooks:
    """Put the entries in force one by one; one that is not allowed is reported and left out."""
    books = shipped()
    seen: set[str] = set()
    for path, entry in entries:
        if entry.id in seen:
            report.wrong((*path, "id"), f"the rule {shown(entry.id)} is given a second time")
            continue
        seen.add(entry.id)
        try:
            books = books.with_site([SiteRule(entry.id, entry.value, entry.reason)])
        except RuleError as error:
            report.wrong(path, str(error))
            continue
        for rule in books.changed():
            if rule.id == entry.id and rule.loosened:
                report.warn(
                    path,
                    f"rule {rule.id} is loosened from {rule.book_value:g} to {rule.value:g}"
                    f" {rule.unit} ({rule.citation}; {rule.state.words}): {rule.reason}",
                )
    return books
