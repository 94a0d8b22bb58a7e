# Everything a person or CI does with this tree. `make` alone lists the targets.
# Each target sets up what it needs; nothing but Python 3.11+ with venv is assumed.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
SEED   ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint peers bench proto bundle lock clean outage-full chaos kills flood slow-link fuzz soak load cluster rtsp alarm-quality running-rates

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(VENV)/.run: deploy/lock/run.txt pyproject.toml
	@deploy/setup.sh $(PYTHON) $(VENV) run

$(VENV)/.dev: deploy/lock/dev.txt pyproject.toml
	@deploy/setup.sh $(PYTHON) $(VENV) dev

demo: $(VENV)/.run  ## simulated plant, gateway and receiver on this machine; ARGS="--camera FILE|rtsp://..."
	@$(BIN)/plantgate demo $(ARGS)

lint: $(VENV)/.dev  ## format, lint, types, import rules, dependencies, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	@deploy/proto.sh $(BIN) check

peers: $(VENV)/.dev  ## install what tests need beside Python (Debian and npm packages, the clip of people)
	@tests/peers/install.sh
	@$(BIN)/plantgate demo --fetch

test: lint peers  ## lint, then every test, those against real counterparts included; SEED=n changes the order
	@$(BIN)/python -m tests.halves --randomly-seed=$(SEED)

bench: $(VENV)/.dev  ## measure the bars of ARCHITECTURE.md; writes build/bench.json
	@$(BIN)/python -m tests.bench $(ARGS)

load: $(VENV)/.dev  ## simulated gateways against one receiver: memory, growth, herd (5 minutes); ARGS="tls postgres": these rounds
	@$(BIN)/python -m tests.bench.load $(ARGS)

outage-full: $(VENV)/.dev  ## the 60 s outage with SIGKILL, and the 45 s cold start, in full length
	PLANTGATE_FULL=1 $(PYTEST) tests/e2e/test_outage.py -q -s -p no:randomly --timeout=600

fuzz: $(VENV)/.dev  ## a million hostile inputs for each parser of Modbus, OPC UA, serial lines, intake; ARGS="--frames N --seed N"
	@$(BIN)/python -m tests.drivers.modbus.fuzz $(ARGS)
	@$(BIN)/python -m tests.drivers.opcua.fuzz $(ARGS)
	@$(BIN)/python -m tests.drivers.serial_line.fuzz $(ARGS)
	@$(BIN)/python -m tests.drivers.intake.fuzz $(ARGS)

soak: $(VENV)/.dev  ## a day of a plant on loopback, a fault a minute (1,440; half an hour); ARGS="--faults N --seed N"
	@$(BIN)/python -m tests.soak $(ARGS)

chaos: $(VENV)/.dev peers  ## faults at every write of the log (half an hour), then full disks (root); ARGS="--every 5": a sample
	$(BIN)/python -m tests.chaos.sweep $(ARGS)
	$(BIN)/python -m tests.chaos.disk_full
	$(BIN)/python -m tests.chaos.disk_full_sent --seconds 1000 --mib 512  # 600 s short of space

kills: $(VENV)/.dev  ## 1,000 SIGKILLs of gateway and receiver at random moments (25 min); ARGS="--kills 100 --seed 7"
	$(BIN)/python -m tests.chaos.kills $(ARGS)

flood: $(VENV)/.dev  ## 10,000 alarms in a minute, then all at once: nothing lost, people answered (4 min); ARGS="--alarms N --seconds N"
	$(BIN)/python -m tests.chaos.alarm_flood $(ARGS)

slow-link: $(VENV)/.dev  ## 2,000 points and alarms over 256 kbit/s, 300 ms, with and without 2 % loss (root, 6 min)
	$(BIN)/python -m tests.chaos.slow_link $(ARGS)

rtsp: $(VENV)/.dev peers  ## 200 faults of cameras over RTSP: seen, back, no leak (root, 15 min); ARGS="--rounds N --seed N"
	$(BIN)/python -m tests.chaos.rtsp $(ARGS)

cluster: $(VENV)/.dev  ## 200 gateways on JetStream x 3 and Patroni x 3, leaders killed, parted (root, 7 min); ARGS="--seconds 600"
	@tests/peers/install_nats.sh
	@tests/peers/install_postgres.sh
	@tests/peers/install_cluster.sh
	@$(BIN)/python -m tests.chaos.cluster $(ARGS)
	@$(BIN)/python -m tests.chaos.partition $(ARGS)

alarm-quality: $(VENV)/.dev  ## false and missed vision alarms a camera-hour on bent real clips (6 min); ARGS="--way rain"
	$(BIN)/python -m tests.vision.alarm_quality $(ARGS)

running-rates: $(VENV)/.dev  ## false and missed alarms of running on drawn scenes (6 min of a core); ARGS="--hours 1"
	$(BIN)/python -m tests.vision.running_rates $(ARGS)

proto: $(VENV)/.dev  ## regenerate gateway/wire/v1 from proto/
	@deploy/proto.sh $(BIN) write

bundle: $(VENV)/.run  ## one file that installs on a machine without internet: build/offline/*.tar.gz (deploy/README.md)
	@deploy/offline/bundle.sh $(BIN)

lock: $(VENV)/.dev  ## renew deploy/lock/*.txt (hashes, no addresses)
	@deploy/lock.sh $(BIN)

clean:  ## remove what the other targets made
	rm -rf $(VENV) .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/peers/*/node_modules
