# The way in for people and machines: `make demo`, `make test`. Every target first sees to .venv.
#
#   make demo ARGS="--data my.txt"        arguments for the command
#   make install PYTHON=/path/python3.11  another interpreter
#   make install NO_UV=1                  pip alone, minutes instead of seconds

BIN := .venv/bin
TEST_WORKERS ?= 2

.PHONY: help install demo test test-slow lint format bench clean
.DEFAULT_GOAL := help

help: ## Show this.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: ## Make .venv and install everything into it; at once when nothing changed.
	@sh -euc "$$INSTALL"

demo: install ## From text to a registered model that answers, in minutes.
	@[ -n "$${SLIPWAY_HOME-}" ] || mkdir -p .slipway
	@$(BIN)/slipway demo $(ARGS)

test: install ## Every test but the long drills.
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile -m "not slow" $(ARGS)

test-slow: install ## The long drills: first those that need the machine to themselves, then the others, two at a time.
	@drills() { $(BIN)/python -m pytest --timeout 900 --durations 25 "$$@" $(ARGS); }; \
	drills -m "slow and alone" && first=0 || first=$$?; \
	drills -m "slow and not alone" -n $(TEST_WORKERS) --dist loadfile && then=0 || then=$$?; \
	case $$first-$$then in 0-0 | 0-5 | 5-0) ;; *) exit 1 ;; esac  # 5: ARGS names none of these

lint: install ## Style, types and the walls between the rooms; all of it even if one fails.
	@mkdir -p .cache; failed=; \
	for check in "ruff check" "ruff format --check" mypy "lint-imports --no-logo"; do \
	  printf '%s: ' "$$check"; $(BIN)/$$check || failed="$$failed [$$check]"; \
	done; \
	[ -z "$$failed" ] || { echo "make lint: failed:$$failed" >&2; exit 1; }

format: install ## Bring the code into form, as far as a machine can.
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

bench: install ## Measure the overhead of a flow, or another benchmark: make bench NAME=orchestration.
	@$(BIN)/python -m benchmarks.$(or $(NAME),orchestration) $(ARGS)

clean: ## Remove .venv and caches; what the runs made (.slipway) stays.
	rm -rf .venv .cache dist build
	find flows llm infra dashboards benchmarks tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# The stamp holds the folder and the checksum of what was asked for. So a change, an interrupted installation,
# and a folder that was moved or copied are all noticed, and nothing else costs time.
define INSTALL
say() { echo "make install: $$*" >&2; }
is_python() { "$$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }
find_uv() {
  uv=
  [ -z "$${NO_UV-}" ] || return 0
  for candidate in uv .venv/bin/uv; do
    if "$$candidate" --version >/dev/null 2>&1; then uv=$$candidate; return; fi  # a shim of pyenv may be there and not work
  done
}

here=$$(pwd -P)
wanted="$$here $$(cat pyproject.toml constraints.txt | cksum)"
if is_python .venv/bin/python && [ "$$(cat .venv/.installed 2>/dev/null)" = "$$wanted" ]; then exit 0; fi

if [ -e .venv ] || [ -L .venv ]; then
  find_uv
  if ! is_python .venv/bin/python || ! grep -qF "$$here/.venv" .venv/bin/activate 2>/dev/null ||
     { [ -z "$$uv" ] && ! .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    say "the environment in .venv is broken, moved or of another Python: it is made anew"
    rm -rf .venv
  fi
fi

if [ ! -e .venv ]; then
  python=$${PYTHON-}
  if [ -n "$$python" ]; then
    is_python "$$python" || { say "$$python is not a working Python 3.11. Name one that is, or leave PYTHON out."; exit 2; }
  else
    for candidate in python3.11 python3 python /usr/bin/python3.11 /usr/local/bin/python3.11 /opt/homebrew/bin/python3.11; do
      if is_python "$$candidate"; then python=$$candidate; break; fi
    done
  fi
  find_uv
  if [ -n "$$uv" ]; then
    "$$uv" venv --quiet --python "$${python:-3.11}" .venv  # without one here, uv brings its own
  elif [ -z "$$python" ]; then
    say "Python 3.11 was not found. Install it (Debian, Ubuntu: apt install python3.11-venv; macOS: brew install python@3.11),"
    say "or install uv, which brings its own, or name one: make install PYTHON=/path/to/python3.11"
    exit 2
  elif ! "$$python" -m venv .venv; then
    rm -rf .venv
    say "$$python cannot make a virtual environment. On Debian and Ubuntu: apt install python3.11-venv. Or install uv."
    exit 2
  elif [ -z "$${NO_UV-}" ]; then
    .venv/bin/python -m pip install --quiet uv || say "uv cannot be had here: pip alone, this takes minutes"
  fi
fi

# uv does not read pip's settings: they are passed on, unless uv has its own. An empty variable would be an error.
config=$$(.venv/bin/python -m pip config list 2>/dev/null || $${python:-python3} -m pip config list 2>/dev/null || true)
pip_setting() {
  for section in :env: install global; do
    value=$$(printf '%s\n' "$$config" | sed -n "s/^$$section\.$$1='\(.*\)'\$$/\1/p" | sed 's/\\n/ /g; s/^ *//; s/ *$$//')
    if [ -n "$$value" ]; then echo "$$value"; return; fi
  done
}
pass_on() {
  eval "own=\$${$$1-}"
  if [ -z "$$own" ]; then unset "$$1"; [ -z "$$2" ] || export "$$1=$$2"; fi
}
pass_on UV_FIND_LINKS "$$(pip_setting find-links | sed 's/  */,/g')"
pass_on UV_DEFAULT_INDEX "$$(pip_setting index-url)"
pass_on UV_INDEX "$$(pip_setting extra-index-url)"
pass_on SSL_CERT_FILE "$$(pip_setting cert)"
if [ -n "$${UV_INDEX-}" ]; then pass_on UV_INDEX_STRATEGY unsafe-best-match; fi  # pip's rule: the best version, wherever it is
cache=$${UV_CACHE_DIR:-$${XDG_CACHE_HOME:-$${HOME:-/dev/null}/.cache}/uv}
if ! mkdir -p "$$cache" 2>/dev/null || [ ! -w "$$cache" ]; then export UV_CACHE_DIR="$$here/.cache/uv"; fi

find_uv
if [ -n "$$uv" ]; then
  # As pip does: where Python may not write bytecode, every command would compile for ten seconds anew.
  set -- "$$uv" pip install --quiet --compile-bytecode --python .venv/bin/python --constraint constraints.txt
else
  set -- .venv/bin/python -m pip install --quiet --constraint constraints.txt
fi
rm -f .venv/.installed
say "installing into .venv; the first time this takes a minute or more"

# The registry's torch for Linux brings gigabytes of CUDA: without such a device the CPU build goes first, where it can be had.
if [ "$$(uname -s)" = Linux ] && [ -z "$${UV_FIND_LINKS-}$${UV_TORCH_BACKEND-}" ] && ! nvidia-smi -L >/dev/null 2>&1; then
  if [ -n "$$uv" ]; then
    UV_HTTP_RETRIES=1 "$$@" --torch-backend cpu torch
  else
    "$$@" --extra-index-url https://download.pytorch.org/whl/cpu --retries 1 torch
  fi || say "the CPU build of torch cannot be had here: the ordinary one is taken, several gigabytes"
fi
"$$@" --editable '.[dev]'
printf '%s\n' "$$wanted" > .venv/.installed
endef
export INSTALL
