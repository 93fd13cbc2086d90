# A thin face over Meson. `make demo` and `make test` need nothing but this make: what else is
# missing on a Debian system is installed first. `make DEPS=: ...` never installs anything.
PREFIX ?= /usr/local
DESTDIR ?=
DEPS ?= packaging/deps.sh
FUZZ_SECONDS ?= 30

# Daemons and ip live where an ordinary user's PATH does not look.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

ASAN = ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1 \
       UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

.NOTPARALLEL:
.PHONY: all help deps demo test asan-test tsan-test bench lint install fuzz clean

all: ## (default) build/tidewait, build/libtidewait.so, build/libtidewait.a
all: deps build/build.ninja
	@ninja -C build
	@for file in cmd/tidewait lib/libtidewait.so lib/libtidewait.a; do \
	  test ! -e build/$$file || ln -sf $$file build/; done

help: ## this list
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/  \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || \
	  sed -n 's/^\([a-z-]*\):.* ## /  \1  /p' Makefile

deps: ## install what the build needs, if it is missing
	@$(DEPS) build

demo: ## a server and ten seconds of load in two private networks
	@$(DEPS) demo
	@$(MAKE) --no-print-directory all
	@packaging/demo.sh

test: ## the whole suite
	@$(DEPS) test
	@$(MAKE) --no-print-directory build/.saw-test all
	@$(call has_tests,build,)
	@meson test -C build --print-errorlogs || { $(call why_failed,build); exit 1; }

asan-test: ## the whole suite under ASan and UBSan
	@$(DEPS) test
	@test -e build-asan/build.ninja || meson setup build-asan --buildtype=debugoptimized \
	  -Db_sanitize=address,undefined -Dc_args=-fno-sanitize-recover=all
	@$(call has_tests,build-asan,)
	@$(ASAN) meson test -C build-asan --print-errorlogs -t 4

tsan-test: ## the tests of suite `threads` under TSan
	@$(DEPS) test
	@test -e build-tsan/build.ninja || meson setup build-tsan --buildtype=debugoptimized \
	  -Db_sanitize=thread
	@$(call has_tests,build-tsan,--suite threads)
# Without -R the random layout of newer kernels can hit TSan's shadow memory.
	@TSAN_OPTIONS=halt_on_error=1 setarch -R meson test -C build-tsan --suite threads \
	  --print-errorlogs -t 4

bench: ## the benchmarks
	@$(DEPS) bench
	@$(MAKE) --no-print-directory build/.saw-bench all
	@$(call has_tests,build,--benchmark)
	@meson test -C build --benchmark --verbose -t 0

lint: ## formatting, clang-tidy, cppcheck, shellcheck
	@$(DEPS) lint
	@$(MAKE) --no-print-directory build/.saw-lint all
	@packaging/lint.sh

install: ## to DESTDIR and PREFIX (/usr/local)
install: all
	@meson configure build -Dprefix=$(PREFIX)
	@$(if $(DESTDIR),DESTDIR=$(DESTDIR)) meson install -C build
	@$(if $(DESTDIR),,ldconfig 2>/dev/null || true)

# tests/fuzz/NAME.c defines LLVMFuzzerTestOneInput; its corpus is tests/fuzz/corpus/NAME. What is
# found is written to build-fuzz, never to the tree.
fuzz: ## each libFuzzer target for FUZZ_SECONDS (30)
	@$(DEPS) fuzz
	@test -e build-fuzz/build.ninja || CC=clang meson setup build-fuzz --buildtype=debugoptimized \
	  -Db_sanitize=address,undefined -Db_lundef=false -Db_staticpic=true \
	  -Dc_args='-fsanitize=fuzzer-no-link -fno-sanitize-recover=all'
	@ninja -C build-fuzz
	@set -eu; ran=0; \
	for source in $$(grep -l "^int LLVMFuzzer" tests/fuzz/*.c); do \
	  name=$$(basename "$$source" .c); found=build-fuzz/found-$$name; mkdir -p "$$found"; \
	  corpus=tests/fuzz/corpus/$$name; test -d "$$corpus" || corpus=; \
	  clang -g -O1 -std=gnu17 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined \
	    -fno-sanitize-recover=all -Iinclude -Ifan -Ilab -Ilib -Iload -Iplan -Ishim -Itune -Irecord -Ireport -Icmd -o "$$found.exe" \
	    "$$source" -Wl,--start-group $$(find build-fuzz -name '*.a') -Wl,--end-group \
	    -lmnl -ljansson -lz -lm -lpthread; \
	  echo "fuzz: $$name for $(FUZZ_SECONDS) s"; \
	  "$$found.exe" -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
	    -print_final_stats=1 -verbosity=0 -artifact_prefix="$$found/" "$$found" $$corpus; \
	  ran=$$((ran + 1)); \
	done; \
	echo "fuzz: $$ran targets, nothing found"; test "$$ran" -gt 0

clean: ## remove all that was built
	rm -rf build build-asan build-tsan build-fuzz

build/build.ninja:
	@meson setup build --prefix=$(PREFIX)

# Meson looks for libraries and programs once, when it is set up; it has to look again after a target
# has installed more of them.
build/.saw-%:
	@if test -e build/build.ninja; then meson setup --reconfigure build; \
	  else meson setup build --prefix=$(PREFIX); fi
	@touch $@

# Meson keeps to itself what bats says of a test that failed.
why_failed = grep -A 30 '^not ok' $(1)/meson-logs/testlog.txt

# Meson calls it a success when there was no test to run.
has_tests = ninja -C $(1) build.ninja >/dev/null; \
  meson test -C $(1) $(2) --no-rebuild --list 2>/dev/null | grep -qv '^No ' || \
  { echo "$(1): no test to run" >&2; exit 1; }
