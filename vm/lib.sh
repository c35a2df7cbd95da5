# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What all scripts in vm/ share: where things are, how an error looks, how a
# long step shows its progress. Sourced, never run.

# Exit codes, one for each kind of trouble that a user can act on.
# shellcheck disable=SC2034 # they are for the scripts that source this file
{
	E_USAGE=2	# wrong option or argument
	E_PACKAGES=10	# a Debian package is missing or cannot be had
	E_NETWORK=11	# the Debian mirror cannot be reached
	E_SPACE=12	# not enough room on the disk
	E_VERSION=13	# KSRC is no Linux 7.3 tree
	E_HUNK=14	# a hunk of one of our patches does not apply
	E_CONFIG=15	# an option did not survive into .config
	E_BUILD=16	# the compiler has the word
	# vm/run passes on the status of the guest's command, so its own are high.
	E_QEMU=120	# QEMU is missing or did not start
	E_SPLAT=123	# the guest's kernel complained
	E_TIMEOUT=124	# the guest did not finish in time
	E_GUEST=125	# the guest died without reporting a status
}

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/ftrace-direct-share
LINUX_VERSION=7.3
ME=${0##*/}

# A tree of the user's gets build directories of its own, so that going back
# and forth between it and Debian's source rebuilds nothing.
BUILD=$REPO/build
if [ -n "${KSRC:-}" ]; then
	BUILD=$BUILD/ksrc-$(printf %s "$(realpath -m "$KSRC")" | cksum | cut -d' ' -f1)
fi
LOGS=$REPO/build/log

# Objects are shared between all trees, whatever folder they lie in; nothing in
# them may depend on when and by whom they were built.
export CCACHE_DIR=$CACHE/ccache CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=4G
export KBUILD_BUILD_TIMESTAMP=2026-01-01 KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_USER=ftrace KBUILD_BUILD_HOST=direct-share

# What Linux has at its top. Everything else here (vm/, bench/, ...) is ours.
LINUX_FOLDERS="Documentation arch block certs crypto drivers fs include init
	io_uring ipc kernel lib mm net rust samples scripts security sound tools
	usr virt"

# A subshell, which goes to the repository in its caller's place.
our_files() (	# our_files FOLDER...: what this repository has for Linux there
	cd "$REPO"
	for folder in "$@"; do
		[ -d "$folder" ] || continue
		# Where git knows what is ignored, believe it.
		git ls-files -z --cached --others --exclude-standard -- "$folder" 2>/dev/null ||
			find "$folder" -type f -print0
	done | sort -zu | while IFS= read -r -d '' file; do
		[ ! -f "$file" ] || printf '%s\n' "$file"
	done
)

# A kernel is ours or stock, each plain or of a flavor: with the options of
# vm/config.FLAVOR on top of vm/config.
[ -z "${DEBUG:-}" ] || FLAVOR=debug

kernel_name() {
	local name=ours

	[ -z "${STOCK:-}" ] || name=stock
	echo "$name${FLAVOR:+-$FLAVOR}"
}

# The guest's architecture, and what its kernel is called when it is built.
guest_arch() {
	[ "${FLAVOR:-}" = arm64 ] && echo arm64 || echo x86_64
}

kernel_image() {
	[ "$(guest_arch)" = arm64 ] && echo Image || echo bzImage
}

kernel_make() {	# kernel_make TREE ARGUMENT...
	local tree=$1 special=(CC="ccache gcc") races

	races=(kernel/trace/ftrace{,_direct_share}.o kernel/livepatch/{core,patch,transition}.o
		kernel/bpf/{trampoline,core,fixups}.o kernel/kprobes.o
		arch/x86/kernel/ftrace.o arch/x86/net/bpf_jit_comp.o)
	shift
	case "${FLAVOR:-}" in
	arm64)
		special=(ARCH=arm64 LLVM=-19 CC="ccache clang-19")
		;;
	cfi)
		# What only clang can.
		special=(LLVM=-19 CC="ccache clang-19")
		;;
	kcsan)
		# What this project changes, and nothing else of that name: KCSAN's
		# own core.o would report to itself. make expands it for each object.
		# shellcheck disable=SC2016
		special+=('KCSAN_SANITIZE=$(if $(filter '"${races[*]}"',$(obj)/$(target-stem).o),y,n)')
		;;
	esac
	make -C "$tree" -j"$(nproc)" "${special[@]}" HOSTCC="ccache gcc" "$@"
}

say() {
	printf '%s: %s\n' "$ME" "$*" >&2
}

# die CODE MESSAGE...
die() {
	local code=$1

	shift
	say "error: $*"
	exit "$code"
}

# Root runs a command as it is, everyone else through sudo.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die $E_PACKAGES "neither root nor sudo: cannot run $1"
	fi
}

elapsed() {
	printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60))
}

# progress LOG: a line every ten seconds, with the number of things done so far
# where the log tells.
progress() {
	local n

	SECONDS=0
	while sleep 10; do
		n=$(grep -cE '^  [A-Z]+ |^Unpacking |^Setting up ' "$1" || true)
		printf '%s:   %s%s\n' "$ME" "$(elapsed)" "$([ "$n" = 0 ] || echo "  $n done")" >&2
	done
}

# step LOGNAME CODE WHAT COMMAND...: run COMMAND with all that it prints in a
# log file, which the error message names.
step() {
	local name=$1 code=$2 what=$3 log ticker status=0

	shift 3
	mkdir -p "$LOGS"
	log=$LOGS/$name.log
	: >"$log"
	say "$what"
	progress "$log" &
	ticker=$!
	SECONDS=0
	# Not behind "||", where a function would go on after a command that fails.
	set +e
	(set -e; "$@") >"$log" 2>&1
	status=$?
	set -e
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	if [ "$status" != 0 ]; then
		grep -E 'error:|Error |^E: |\*\*\*' "$log" | tail -n 15 >&2 ||
			tail -n 15 "$log" >&2
		die "$code" "failed after $(elapsed): $what (log: $log)"
	fi
	say "  done in $(elapsed)"
}

# qemu_arguments SMP THREADS ICOUNT CPU: sets the array qemu, from these (all but
# the first may be empty) and from what this machine can do.
qemu_arguments() {
	local smp=$1 threads=${2:-single} icount=$3 cpu=${4:-max}

	if [ "$(guest_arch)" = arm64 ]; then
		qemu=(qemu-system-aarch64 -machine virt)
	else
		qemu=(qemu-system-x86_64)
	fi
	command -v "${qemu[0]}" >/dev/null ||
		die $E_QEMU "no ${qemu[0]}: run 'make packages'"
	if [ "$(guest_arch)" = arm64 ]; then
		# Its own way to authenticate pointers takes most of the time otherwise.
		qemu+=(-accel "tcg,thread=$threads" -cpu "$cpu,pauth-impdef=on")
	elif [ -n "$icount" ]; then
		smp=1
		qemu+=(-accel "tcg,thread=single" -icount "shift=0,sleep=off" -cpu "$cpu")
	elif [ -n "${KVM:-}" ] && kvm_boots; then
		qemu+=(-accel kvm -cpu host)
	else
		qemu+=(-accel "tcg,thread=$threads" -cpu "$cpu")
	fi
	qemu+=(-smp "$smp" -nodefaults -no-user-config -display none -no-reboot)
}

# copy_source TREE: which shares the files of the source where it can. Nothing writes to
# one of them: the build does not, vm/overlay puts another in its place.
copy_source() {
	rm -rf "$1.new"
	cp -al "$BUILD/source" "$1.new" || {
		rm -rf "$1.new"
		cp -a --reflink=auto "$BUILD/source" "$1.new"
	}
	mv "$1.new" "$1"
}

# need_space GIGABYTES DIR
need_space() {
	local dir=$2 free

	mkdir -p "$dir"
	free=$(df -Pk "$dir" | awk 'NR == 2 { print int($4 / 1048576) }')
	[ "$free" -ge "$1" ] ||
		die "$E_SPACE" "$free GB free at $dir, $1 GB needed"
}

# kvm_boots: whether a guest gets anywhere with /dev/kvm. There are machines
# where it exists and a guest never prints its first message, so one is tried,
# once, with a time limit.
kvm_boots() {
	local verdict=$REPO/build/kvm dir

	dir=$BUILD/$(kernel_name)
	if [ ! -e "$verdict" ]; then
		say "trying whether a guest boots with KVM (20 s at most)"
		if timeout -k 1 20 "${qemu[0]}" -accel kvm -cpu host -smp 2 -m 1G \
			-nodefaults -no-user-config -display none -no-reboot \
			-kernel "$dir/image" -initrd "$dir/initramfs.cpio.zst" \
			-append "console=ttyS0 panic=-1 no_timer_check" \
			-serial stdio </dev/null 2>/dev/null | grep 'Run /init' >/dev/null
		then
			echo yes >"$verdict"
		else
			echo no >"$verdict"
		fi
	fi
	[ "$(cat "$verdict")" = yes ] || {
		say "no guest boots with this machine's KVM: emulating (TCG)"
		return 1
	}
}
