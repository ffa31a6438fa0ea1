# The two commands of a new user are `make demo` and `make test`. Both install all that they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOM_64 := out/room-64

.PHONY: setup setup-demo lock rendering browser demo test test-fast test-all test-cuda test-oldest fuzz dist lint bench bench-gpu docs pictures room-64 room-128 fidelity clean
.NOTPARALLEL:

# Otherwise each process of a command would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

demo: setup-demo rendering
	$(BIN)/python -m demos.quickstart

# Three processes of one thread each keep two cores busy: tests also wait. The tests of one file share fixtures.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder

# Before each commit: options are combined so that each pair of values occurs.
test: setup rendering browser lint
	$(PYTEST) -m "not benchmark and not exhaustive"

# For daily work: without slow tests.
test-fast: setup
	$(PYTEST) -m "not benchmark and not exhaustive and not slow"

# Everything: every combination of options.
test-all: setup rendering browser lint
	$(PYTEST) -m "not benchmark"

# On a machine with a GPU: the tests that need one, in one process, with the numbers that they print.
test-cuda: setup
	$(BIN)/pytest -q -s -m "cuda and not benchmark" tests/cuda

# The oldest releases that pyproject.toml admits, in an environment of their own: 8 GB, as the oldest PyTorch comes with
# CUDA. Without slow tests, apart from those of conversions, which depend on several packages. Their warnings are not
# ours to mend, nor what MuJoCo 3 prints when a process ends with open worlds.
OLDEST := .venv-oldest
test-oldest:
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) tests/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt \
		--editable '.[reference,rl,demo,train,data,evaluation,hub,engine,scale,serve]' \
		pytest pytest-xdist hypothesis httpx jsonschema
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(OLDEST)/bin/python -m pytest -q -n 2 --dist loadfile -W default \
		-m "not benchmark and not exhaustive and not slow" --ignore tests/cuda --ignore tests/fuzz \
		--deselect tests/reference/test_opengl.py::test_a_process_ends_quietly_with_worlds_that_nobody_closed
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(OLDEST)/bin/python -m pytest -q -W default tests/engine

# Tries 10,000 wrong inputs, counts the answers, and fails if one is not clear.
fuzz: setup
	$(BIN)/python -m tests.fuzz --inputs 10000 --json out/fuzz.json

# The wheel and the sdist, in dist/.
dist: setup
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --quiet

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/pytest -q -s -m "benchmark and not cuda" tests/benchmarks

bench-gpu: setup
	$(BIN)/pytest -q -s -m "benchmark and cuda" tests/benchmarks/test_gpu.py

# Builds the documentation site into out/site; a broken link is an error. NO_MKDOCS_2_WARNING silences an advertisement.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Records held-out episodes of the reference world, then judges the checkpoint room-64 on them.
fidelity: setup rendering
	$(BIN)/hwm-env fidelity --json out/fidelity.json --film-strip out/film_strip.png --plot out/fidelity.png

# Makes the checkpoint room-64 from an empty directory; see the model card for the time it takes.
# INITIAL=CHECKPOINT starts from that checkpoint, DEVICE=cuda computes on a GPU, PRECISION=float32 or bfloat16
# names the number type. MINUTES=N trains for that time in all and leaves the checkpoint that comes with hwm_env as it
# is: MINUTES=1 tries everything in miniature.
room-64: setup rendering
	$(BIN)/python -m docs.studies.room --directory $(ROOM_64) $(if $(INITIAL),--initial $(INITIAL)) \
		$(if $(PRECISION),--precision $(PRECISION)) $(if $(DEVICE),--device $(DEVICE)) \
		$(if $(MINUTES),--minutes $(MINUTES) --destination $(ROOM_64)/checkpoint,--destination hwm_env/assets/room-64 \
		--report docs/results/trust.json docs/images/trust.png)

# The same room in pictures of 128 pixels, from room-64's weights: out/room-128/checkpoint.
room-128: setup rendering
	$(BIN)/python -m docs.studies.room --directory out/room-128 --image-size 128 --initial room-64 \
		--decoding-steps 0 --destination out/room-128/checkpoint $(if $(DEVICE),--device $(DEVICE)) $(if $(MINUTES),--minutes $(MINUTES))

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Downloading PyTorch, MuJoCo and all packages that the tests need (tens of them, Ray and TorchRL among them) into $(VENV)."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(VENV)/.installed $(VENV)/.installed-demo

# Records the versions in .venv; see CONTRIBUTING.md. Builds of PyTorch differ by what follows a plus sign.
lock: $(VENV)/.installed
	echo "# All packages of .[dev], for Python 3.11 on Linux. Written by make lock; CONTRIBUTING.md says how to renew it." \
		> constraints.txt
	$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+.*//' >> constraints.txt
	touch $(VENV)/.installed $(VENV)/.installed-demo

setup-demo: $(VENV)/.installed-demo

$(VENV)/.installed-demo: pyproject.toml constraints.txt
	@echo "Downloading PyTorch, MuJoCo, Gymnasium and a few packages for pictures and windows into $(VENV)."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,reference]'
	touch $@

# MuJoCo renders offscreen in software through EGL; Mesa's EGL is installed if the machine has none.
rendering:
	@$(BIN)/python -c "import sys; from hwm_env.reference.rendering import can_render; sys.exit(not can_render())" \
		|| ($(call apt_install,MuJoCo cannot render here without EGL,libegl1 libegl-mesa0 libgl1-mesa-dri)) \
		|| echo "MuJoCo cannot render here: recorded ground truth is used instead." >&2

# Makes the pictures of the demos in the README.
pictures: setup rendering browser
	$(BIN)/python -m docs.studies.pictures

# The tests of demos.serve need a browser; without one they are skipped.
browser:
	@command -v chromium >/dev/null \
		|| ($(call apt_install,the tests of demos.serve drive in a browser,chromium)) \
		|| echo "Chromium is not here: tests in a browser are skipped." >&2

# Says why, then installs Debian packages, if this is a Debian and we may: $(call apt_install,REASON,PACKAGES).
apt_install = command -v apt-get >/dev/null && test "$$(id -u)" = 0 \
	&& echo "Installing $(2) with apt-get: $(1)." >&2 \
	&& apt-get update -qq && apt-get install -y -qq --no-install-recommends $(2)

clean:
	rm -rf $(VENV) $(OLDEST) build dist out
