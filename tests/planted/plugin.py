"""A plug-in of pytest that plants one bug before anything is collected."""

from tests.planted import bugs


def pytest_configure():
    bugs.plant_if_asked()
