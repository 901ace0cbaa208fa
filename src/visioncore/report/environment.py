"""How templates become HTML: text from data is escaped, numbers are written as people read them."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_environment() -> Environment:
    """What renders the templates of this package; a name that a template uses and is not given is an error."""
    environment = Environment(
        loader=PackageLoader("visioncore.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "interval": _interval, "percent": _percent}
    return environment


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _interval(value: Sequence[float] | None, digits: int = 2) -> str:
    return "" if value is None else f"{_number(value[0], digits)} to {_number(value[1], digits)}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %".replace("-", "−")
