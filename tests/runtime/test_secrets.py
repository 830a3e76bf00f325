"""Secrets are read behind their references, kept for an hour, and never shown."""

import os
from pathlib import Path

import pytest

from runtime.secrets import REFRESH_SECONDS, SecretError, SecretStore, read_secret


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> SecretStore:
    return SecretStore(clock)


def test_a_secret_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "k e=y:ü")
    assert read_secret("env:A_KEY") == "k e=y:ü"


def test_a_secret_is_read_from_a_file_whose_name_may_hold_colons(tmp_path: Path) -> None:
    path = tmp_path / "a:key"
    path.write_text("value", encoding="utf-8")
    assert read_secret(f"file:{path}") == "value"


@pytest.mark.parametrize(
    ("written", "value"),
    [("key\n", "key"), ("key\r\n", "key"), (" key \n", " key "), ("a\nb", "a\nb")],
)
def test_a_line_break_at_the_end_is_no_part_of_the_secret(
    written: str, value: str, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(written.encode())
    assert read_secret(f"file:{tmp_path}/key") == value


@pytest.mark.parametrize("content", ["", "\n", "\r\n\n"])
def test_an_empty_secret_is_none(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(content)
    monkeypatch.setenv("A_KEY", content)
    for reference in (f"file:{tmp_path}/key", "env:A_KEY"):
        with pytest.raises(SecretError, match="is empty"):
            read_secret(reference)


def test_a_secret_that_is_not_there_is_named_by_its_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    with pytest.raises(SecretError, match=r"^env:A_KEY: .*not set") as error:
        read_secret("env:A_KEY")
    assert error.value.reference == "env:A_KEY"
    with pytest.raises(SecretError, match="No such file"):
        read_secret(f"file:{tmp_path}/none")
    with pytest.raises(SecretError, match="Is a directory"):
        read_secret(f"file:{tmp_path}")


def test_a_secret_that_is_no_text_is_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_bytes(b"hidden\xff")
    monkeypatch.setenv("A_KEY", os.fsdecode(b"hidden\xff"))
    for reference in (f"file:{tmp_path}/key", "env:A_KEY"):
        with pytest.raises(SecretError, match="UTF-8") as error:
            read_secret(reference)
        assert "hidden" not in repr(error.value)
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__


def test_google_without_credentials_is_a_secret_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(SecretError, match="DefaultCredentialsError: this process has no account"):
        read_secret("gcp-secret:projects/p/secrets/s/versions/latest")


def test_a_secret_is_kept_for_about_an_hour(
    store: SecretStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "old")
    assert store.resolve(["env:A_KEY"]) == {"env:A_KEY": "old"}
    monkeypatch.setenv("A_KEY", "new")
    clock.now += 0.79 * REFRESH_SECONDS
    assert store.resolve(["env:A_KEY"]) == {"env:A_KEY": "old"}
    clock.now += 0.42 * REFRESH_SECONDS
    assert store.resolve(["env:A_KEY"]) == {"env:A_KEY": "new"}


def test_stores_do_not_all_ask_again_in_the_same_second(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [SecretStore(clock) for _ in range(60)]
    monkeypatch.setenv("A_KEY", "old")
    for store in stores:
        store.resolve(["env:A_KEY"])
    monkeypatch.setenv("A_KEY", "new")
    clock.now += REFRESH_SECONDS
    found = {store.resolve(["env:A_KEY"])["env:A_KEY"] for store in stores}
    assert found == {"old", "new"}


def test_what_is_doubted_is_read_anew(store: SecretStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "old")
    store.resolve(["env:A_KEY"])
    monkeypatch.setenv("A_KEY", "new")
    store.doubt(["env:A_KEY"])
    assert store.resolve(["env:A_KEY"]) == {"env:A_KEY": "new"}


def test_a_secret_that_comes_back_is_found_at_once(
    store: SecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    with pytest.raises(SecretError):
        store.resolve(["env:A_KEY"])
    monkeypatch.setenv("A_KEY", "there")
    assert store.resolve(["env:A_KEY"]) == {"env:A_KEY": "there"}


def test_each_reference_has_its_own_value(
    store: SecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "a")
    monkeypatch.setenv("B_KEY", "b")
    assert store.resolve(["env:A_KEY", "env:B_KEY"]) == {"env:A_KEY": "a", "env:B_KEY": "b"}
    assert store.resolve([]) == {}


def test_a_value_that_was_read_stays_in_use_while_it_cannot_be_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    store = SecretStore(lambda: now[0])
    monkeypatch.setenv("A_KEY", "good")
    store.resolve(["env:A_KEY"])
    monkeypatch.delenv("A_KEY")
    now[0] = 10_000
    assert store.resolve(["env:A_KEY"]) == {"env:A_KEY": "good"}


@pytest.mark.parametrize("reference", ["file:/a\0b", "file:/"])
def test_a_path_that_is_no_files_is_a_secret_error(reference: str) -> None:
    with pytest.raises(SecretError):
        SecretStore().resolve([reference])
