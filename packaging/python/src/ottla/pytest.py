"""Fixtures for pytest, which finds them by itself: `ottla`, a broker for the session, and `ottla_bootstrap`, its address."""

import pytest

from ottla import Broker

_running = pytest.StashKey[Broker]()
_logged_before = pytest.StashKey[int]()


def pytest_addoption(parser):
    parser.addini("ottla_config", "server properties of the broker for tests, KEY=VALUE", type="linelist", default=[])
    parser.addini("ottla_args", "further arguments of its command line", type="linelist", default=[])


@pytest.fixture(scope="session")
def ottla(pytestconfig):
    """A broker that serves all tests of this session; with pytest-xdist, of this worker."""
    config = {}
    for line in pytestconfig.getini("ottla_config"):
        key, equals, value = line.partition("=")
        if not equals:
            raise pytest.UsageError(f"ottla_config: {line}: expected KEY=VALUE")
        config[key.strip()] = value.strip()
    with Broker(config, args=pytestconfig.getini("ottla_args")) as broker:
        pytestconfig.stash[_running] = broker
        yield broker
        del pytestconfig.stash[_running]


@pytest.fixture(scope="session")
def ottla_bootstrap(ottla):
    """Where clients connect: `host:port`."""
    return ottla.bootstrap


def pytest_runtest_setup(item):
    broker = item.config.stash.get(_running, None)
    item.stash[_logged_before] = broker.log_size() if broker else 0


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    broker = item.config.stash.get(_running, None)
    if report.failed and broker and "ottla" in getattr(item, "fixturenames", ()):
        log = broker.log(item.stash.get(_logged_before, 0))
        if log:
            report.sections.append(("Ottla's log of this test", log))
