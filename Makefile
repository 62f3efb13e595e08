# make segment [CT=scan.nii.gz]   the liver of the sample CT, or of your own, into out/; options: ARGUMENTS="--series 2"
# make check                      lint, format, types and the fast tests, in under a minute
# make test [TESTS=Testing/core]  lint, format, types and all tests that need no Slicer application, or some of them
# make test-all                   the same, and 10,000 generated inputs: files, weights, settings and command lines
# make test-slicer-python         the extension on another Python, without torch: PYTHON=python3.12
# make test-python                core and command line on another Python and numpy: PYTHON=python3.10 NUMPY=numpy==1.26.4
# make test-in-slicer SLICER=...  what users do, inside the Slicer application; screenshots go to out/slicer
# make train-demo                 the whole training path on a generated phantom, in about five minutes
# make benchmark                  time by stage, engine and answer, other software, click to mask, latency of each action
# make benchmark-simulated_clicks mean Dice after simulated clicks; so for every file of Testing/benchmarks
# make slicer SLICER=/path/Slicer start 3D Slicer with the module

PYTHON ?= python3
VENV ?= .venv
OUT ?= out
STUDENT ?= student-100k
RUN = $(VENV)/bin/python
SEGMENT = PYTHONPATH=LiverGTAN $(RUN) -m LiverGTANLib segment
PYTEST = QT_QPA_PLATFORM=offscreen $(RUN) -m pytest

.PHONY: segment check test tests test-all generated-inputs lint types fast-tests test-slicer-python test-python
.PHONY: test-in-slicer train-demo benchmark slicer clean

# One stamp for each group of packages, remade when pyproject.toml changes. Precious: make would delete one that only a
# pattern leads to, and packages would be installed anew each time.
.PRECIOUS: $(VENV)/.installed-%
$(VENV)/.installed-%: pyproject.toml
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --upgrade "pip>=25.1" || \
		{ echo "Packages could not be downloaded: the first run needs a network." >&2; exit 1; }
	$(RUN) -m pip install --quiet --group $*
	@touch $@

ifdef CT
INPUT = set -- "$(CT)"
else
INPUT = sample=$$($(RUN) -m training.data.samples) && set -- $$sample && set -- "$$1" --reference "$$2"
endif
# ARGUMENTS: any other options of the command line; files go into OUT.
segment: $(VENV)/.installed-segment
	@mkdir -p "$(OUT)"
	@former=; test ! -e "$(OUT)/liver.seg.nrrd" || former=yes; \
	$(INPUT) && { \
		$(SEGMENT) "$$@" --student "$(STUDENT)" $(ARGUMENTS) -o "$(OUT)/liver.seg.nrrd" \
			--picture "$(OUT)/liver.png" --report "$(OUT)/liver.json" || { \
			echo 'With make, options go in ARGUMENTS, as in ARGUMENTS="--series 2".' >&2; exit 2; }; } && \
	echo "Wrote $(OUT)/liver.seg.nrrd (opens in 3D Slicer), $(OUT)/liver.png and $(OUT)/liver.json" && \
	{ test -z "$$former" || echo "Replaced $(OUT)/liver.* of an earlier run; OUT=FOLDER writes elsewhere"; }

check: lint
	@$(MAKE) --no-print-directory -j2 types fast-tests

fast-tests: $(VENV)/.installed-test
	$(PYTEST) -m "not slow"

# TESTS: folders, files or options for pytest; all tests when empty.
TESTS ?=
test: lint types tests

tests: $(VENV)/.installed-test
	$(PYTEST) $(TESTS)

test-all: test
	@$(MAKE) --no-print-directory generated-inputs

# ARGUMENTS: see `python -m generated --help` in Testing/generated.
generated-inputs: $(VENV)/.installed-test
	PYTHONPATH=.:LiverGTAN:Testing $(RUN) -m generated $(ARGUMENTS)

lint: $(VENV)/.installed-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

types: $(VENV)/.installed-test
	$(RUN) -m mypy

# In full: what needs Slicer, and how programs start. Of core and command line, which `make test` runs in full on another
# Python, what is fast, as `test-python` does.
START = Testing/core/test_start.py Testing/standalone/test_command_line.py
SOURCES_ONLY = Testing/test_architecture.py Testing/test_documentation.py
test-slicer-python: VENV = .venv-slicer-python
test-slicer-python:
	@$(MAKE) --no-print-directory VENV=$(VENV) $(VENV)/.installed-slicer
	$(PYTEST) Testing/host Testing/mrml Testing/ui $(filter-out $(SOURCES_ONLY),$(wildcard Testing/test_*.py)) $(START)
	$(PYTEST) Testing/core Testing/standalone $(addprefix --ignore=,$(START)) -m "not slow"

NUMPY ?= numpy
# The version is in the name: paths of two Pythons may end alike.
test-python: VENV = .venv-$(shell $(PYTHON) -c "import sys; print(*sys.version_info[:2], sep='.')")
test-python:
	@$(MAKE) --no-print-directory VENV=$(VENV) $(VENV)/.installed-portable
	$(RUN) -m pip install --quiet "$(NUMPY)"
	$(PYTEST) Testing/core Testing/standalone -m "not slow"

# Needs no package: the exit code is Slicer's, and not 0 either when it crashes, hangs or does not run the test.
SCREENSHOTS ?= $(OUT)/slicer
test-in-slicer:
	$(PYTHON) Testing/application/start.py "$(SLICER)" --output "$(SCREENSHOTS)"

train-demo: $(VENV)/.installed-training
	$(RUN) -m training demo $(ARGUMENTS)

# SLICES: of the long scan; 0 for none. ARGUMENTS: RUNS and --quick for all three, --write for the results of speed.
SLICES ?= 1500
benchmark:
	@$(MAKE) --no-print-directory benchmark-click_to_mask benchmark-interaction \
		ARGUMENTS="$(filter-out --write,$(ARGUMENTS))"
	@$(MAKE) --no-print-directory benchmark-speed ARGUMENTS="$(ARGUMENTS) --slices $(SLICES)"

# Any file of Testing/benchmarks.
benchmark-%: $(VENV)/.installed-benchmark
	QT_QPA_PLATFORM=offscreen PYTHONPATH=.:LiverGTAN:Testing $(RUN) -m benchmarks.$* $(ARGUMENTS)

slicer:
	@test -n "$(SLICER)" || { echo "Say which Slicer: make slicer SLICER=/path/to/Slicer" >&2; exit 1; }
	"$(SLICER)" --additional-module-paths "$(CURDIR)/LiverGTAN"

clean:
	rm -rf $(VENV) .venv-* "$(OUT)" .cache
