# make segment [CT=scan.nii.gz]   the liver of the sample CT, or of your own, into out/
# make test                       everything that can be tested without the Slicer application
# make test-slicer-python         the extension's tests on another Python, without torch: PYTHON=python3.12
# make train-demo                 the whole training path on a generated phantom, in about five minutes
# make benchmark                  click-to-mask times of both engines by stage, latency of each action
# make slicer SLICER=/path/Slicer start 3D Slicer with the module

PYTHON ?= python3
VENV ?= .venv
OUT ?= out
STUDENT ?= student-100k
RUN = $(VENV)/bin/python
SEGMENT = PYTHONPATH=LiverGTAN $(RUN) -m LiverGTANLib segment

.PHONY: segment test test-slicer-python train-demo benchmark slicer clean

# One stamp for each group of packages, remade when pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --upgrade "pip>=25.1" || \
		{ echo "Packages could not be downloaded: the first run needs a network." >&2; exit 1; }
	$(RUN) -m pip install --quiet --group $*
	@touch $@

segment: $(VENV)/.installed-segment
	@mkdir -p $(OUT)
ifdef CT
	@$(SEGMENT) "$(CT)" -o $(OUT)/liver.seg.nrrd --picture $(OUT)/liver.png --report $(OUT)/liver.json --student $(STUDENT)
else
	@set -- $$($(RUN) -m training.data.samples) && $(SEGMENT) "$$1" -o $(OUT)/liver.seg.nrrd --picture $(OUT)/liver.png \
		--report $(OUT)/liver.json --student $(STUDENT) --reference "$$2"
endif
	@echo "Wrote $(OUT)/liver.seg.nrrd (opens in 3D Slicer), $(OUT)/liver.png and $(OUT)/liver.json"

test: $(VENV)/.installed-test
	$(RUN) -m ruff check .
	QT_QPA_PLATFORM=offscreen $(RUN) -m pytest

test-slicer-python: VENV = .venv-slicer-python
test-slicer-python:
	@$(MAKE) --no-print-directory VENV=$(VENV) $(VENV)/.installed-slicer
	QT_QPA_PLATFORM=offscreen $(VENV)/bin/python -m pytest --ignore=Testing/training

train-demo: $(VENV)/.installed-training
	$(RUN) -m training demo

benchmark: $(VENV)/.installed-test
	QT_QPA_PLATFORM=offscreen PYTHONPATH=.:LiverGTAN:Testing $(RUN) Testing/benchmarks/click_to_mask.py
	QT_QPA_PLATFORM=offscreen PYTHONPATH=.:LiverGTAN:Testing $(RUN) Testing/benchmarks/interaction.py

slicer:
	"$(SLICER)" --additional-module-paths "$(CURDIR)/LiverGTAN"

clean:
	rm -rf $(VENV) .venv-slicer-python $(OUT) .cache
