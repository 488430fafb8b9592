"""`make install` with a recording stand-in for uv: what is done when, and what uv is told. No network, no minutes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

UV = f"""#!/bin/sh
# Makes an environment as uv does, records an installation with its variables, and fails where it is told to.
case "$1" in
  --version) echo uv 0 ;;
  venv) "{sys.executable}" -m venv --without-pip .venv ;;
  pip)
    told="links=${{UV_FIND_LINKS-none}} default=${{UV_DEFAULT_INDEX-none}} index=${{UV_INDEX-none}} cache=${{UV_CACHE_DIR-none}}"
    echo "$* | $told" >> calls
    case "$*" in *"${{FAIL_ON:-nothing at all}}"*) exit 1 ;; esac ;;
esac
"""


class Clone:
    """A fresh clone as far as `make install` looks, with its own PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.folder.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder)
        tools = folder / "tools"
        tools.mkdir()
        (tools / "uv").write_text(UV)
        (tools / "uv").chmod(0o755)
        (tools / "python3.11").symlink_to(sys.executable)
        (folder / "home").mkdir()
        self.environment = {
            "PATH": f"{tools}:/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def install(self, **variables: str) -> tuple[int, str, list[str]]:
        """Exit code, standard error, and the calls to uv that this one made."""
        (self.folder / "calls").unlink(missing_ok=True)
        environment = self.environment | variables
        done = subprocess.run(
            ["make", "install"], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        calls = self.folder / "calls"
        return done.returncode, done.stderr, calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


LINKS = {"PIP_FIND_LINKS": "/wheels /more"}


def test_a_second_install_costs_nothing(clone: Clone) -> None:
    code, _, calls = clone.install(**LINKS)
    assert (code, len(calls)) == (0, 1)
    assert "--editable .[dev]" in calls[0]
    assert "--constraint constraints.txt" in calls[0]
    assert clone.install(**LINKS) == (0, "", [])


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_wanted_installs_again(clone: Clone, name: str) -> None:
    clone.install(**LINKS)
    with (clone.folder / name).open("a") as file:
        file.write("# changed\n")
    assert len(clone.install(**LINKS)[2]) == 1


def test_a_failed_install_is_not_taken_for_a_whole_one(clone: Clone) -> None:
    code, _, _ = clone.install(FAIL_ON="--editable", **LINKS)
    assert code == 2
    code, _, calls = clone.install(**LINKS)
    assert (code, len(calls)) == (0, 1)


def test_a_moved_clone_gets_an_environment_of_its_own(clone: Clone) -> None:
    clone.install(**LINKS)
    clone.folder = clone.folder.rename(clone.folder.with_name("moved"))
    code, said, calls = clone.install(**LINKS)
    assert (code, len(calls)) == (0, 1)
    assert "made anew" in said
    assert f"{clone.folder}/.venv" in (clone.folder / ".venv/bin/activate").read_text()


def test_an_environment_without_its_python_is_made_anew(clone: Clone) -> None:
    clone.install(**LINKS)
    for python in (clone.folder / ".venv/bin").glob("python*"):
        python.unlink()
    code, said, calls = clone.install(**LINKS)
    assert (code, len(calls)) == (0, 1)
    assert "made anew" in said


def test_pip_settings_reach_uv_and_empty_ones_do_not(clone: Clone) -> None:
    _, _, calls = clone.install(PIP_FIND_LINKS="/wheels /more", PIP_EXTRA_INDEX_URL="http://a/ http://b/", UV_DEFAULT_INDEX="")
    assert "links=/wheels,/more default=none index=http://a/ http://b/ " in calls[0]


def test_uv_settings_of_the_user_win_over_those_of_pip(clone: Clone) -> None:
    _, _, calls = clone.install(
        PIP_FIND_LINKS="/wheels", UV_FIND_LINKS="/mine", PIP_INDEX_URL="http://a/", UV_DEFAULT_INDEX="http://b/"
    )
    assert "links=/mine default=http://b/ " in calls[0]


def test_a_read_only_home_moves_the_cache_into_the_clone(clone: Clone) -> None:
    _, _, calls = clone.install(HOME="/dev/null", **LINKS)
    assert calls[0].endswith(f"cache={clone.folder}/.cache/uv")


@pytest.mark.skipif(
    shutil.which("nvidia-smi") is not None or sys.platform != "linux", reason="the CPU build is for Linux without CUDA"
)
def test_without_a_cuda_device_the_cpu_build_of_torch_goes_first(clone: Clone) -> None:
    _, _, calls = clone.install()
    assert "--torch-backend cpu torch |" in calls[0]
    assert "--editable .[dev] |" in calls[1]


def test_with_a_cuda_device_the_ordinary_torch_is_taken(clone: Clone, tmp_path: Path) -> None:
    (tmp_path / "tools/nvidia-smi").symlink_to("/bin/true")
    assert ["torch-backend" in call for call in clone.install()[2]] == [False]


def test_an_unreachable_cpu_build_does_not_stop_the_install(clone: Clone) -> None:
    (clone.folder.parent / "tools/nvidia-smi").symlink_to("/bin/false")
    code, said, calls = clone.install(FAIL_ON="--torch-backend")
    assert (code, len(calls)) == (0, 2)
    assert "the ordinary one is taken" in said


def test_a_wrong_python_is_refused_by_name(clone: Clone) -> None:
    code, said, calls = clone.install(PYTHON="/bin/false")
    assert (code, calls) == (2, [])
    assert "/bin/false is not a working Python 3.11" in said
    assert not (clone.folder / ".venv").exists()
