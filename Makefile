# Both of the first two do all of their own set-up.
.PHONY: demo test check clean

demo:  ## run the bundled models on the bundled photographs; results in demo/
	@bin=$$(scripts/env cpu)/bin && "$$bin/genloom" demo -o demo

test: check  ## everything CI runs
	@scripts/test

check:  ## style, types and import contracts
	@scripts/check

clean:
	rm -rf .envs demo .mypy_cache .ruff_cache .pytest_cache .coverage
