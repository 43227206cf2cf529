# pvehooks: all targets work on a fresh Debian 12 or 13, as root.
.DEFAULT_GOAL := help
.PHONY: help demo fuzz coverage mutate test test-suites test-node test-dist-upgrade test-kernel test-report lint format bench golden docs deb stdeb install repo clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## show the daemon at work on a small tree
	@sh scripts/demo

test: ## run all tests (ARGS="-k name" for some)
	@sh scripts/test $(ARGS)

test-suites: ## run the demo and all tests on minimal Debian 12 and 13 systems (ARGS="trixie -- -k name" for some)
	@sh scripts/test-suites $(ARGS)

test-node: ## build, install and test the package on booted Debian 12 and 13 systems (ARGS as for test)
	@sh scripts/test-node $(ARGS)

test-dist-upgrade: ## upgrade a booted Debian 12 with the package to 13, from the mirror (some minutes; the CI does not)
	@sh scripts/test-node -n 0 tests/node/dist_upgrade.py

test-kernel: ## start guests on an emulated machine with an IOMMU and the installed package (ARGS as for test)
	@sh scripts/test-kernel $(ARGS)

test-report: ## render HTML reports in Chromium, as on a phone, with dark colours and on paper (ARGS as for test)
	@sh scripts/test-report $(ARGS)

fuzz: ## feed any content to what reads files of others, MINUTES=60
	@sh scripts/fuzz $(or $(MINUTES),60)

coverage: ## name each branch of the code that decides (rules, derived, judge, transaction) that no test runs (ARGS="TEST..." for other tests)
	@sh scripts/coverage $(ARGS)

mutate: ## change that code in some thousand ways, and name the changes that no test notices (ARGS="pvehooks/rules/start" for a part)
	@sh scripts/mutate $(ARGS)

lint: ## run only ruff, mypy, shellcheck and the tests of the architecture
	@sh scripts/test -q tests/lint

format: ## format the Python code with ruff
	@"$$(sh scripts/install-ruff)" format .

bench: ## measure speed and size against a reference; fails if a limit is exceeded
	@scripts/bench

golden: ## rewrite the golden files from the current output of the programs
	@sh scripts/test -q --golden-update $(or $(ARGS),tests)

docs: ## regenerate man pages, journal catalogue and bash completion from tables in the code
	@sh scripts/install-packages "make docs" python3-configobj python3-pyinotify python3-rich python3-systemd
	@/usr/bin/python3 -B -m scripts.docs

deb: ## build the Debian package into dist/deb
	@sh scripts/deb dist/deb

stdeb: ## build it with stdeb from setup.py, into dist/stdeb
	@sh scripts/deb --stdeb dist/stdeb

install: ## build it and install it on this node with apt (ARGS=--yes)
	@sh scripts/install $(ARGS)

repo: ## build a signed apt repository of it: KEY=ID of a secret key of yours, OUT=dist/repo, URL=where it will be
	@[ -n "$(KEY)" ] || { echo "make repo KEY=ID [OUT=DIRECTORY] [URL=ADDRESS]: KEY is required, the id of a secret key of yours" >&2; exit 2; }
	@sh scripts/deb dist/deb
	@URL="$(URL)" sh scripts/repo "$(KEY)" "$(or $(OUT),dist/repo)" dist/deb/*.deb

clean: ## remove what builds and tests left in the checkout
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -rf build dist deb_dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
