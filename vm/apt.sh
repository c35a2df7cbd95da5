# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A private apt: its own sources, package lists and downloads below the cache
# folder, but the system's list of installed packages. So backports can be used
# without a change to the system's sources, and sources of third parties that
# the system may have cannot get in the way. Sourced, never run.
#
# No mirror is named here: whichever the system uses serves us too.

# The release of this machine, by code name.
debian_release() {
	local ID='' VERSION_CODENAME=''

	# shellcheck disable=SC1091
	. /etc/os-release
	case "$ID-$VERSION_CODENAME" in
	debian-bookworm | debian-trixie) echo "$VERSION_CODENAME" ;;
	*) die "$E_PACKAGES" "this is ${PRETTY_NAME:-$ID}: packages are known for Debian 12 and 13 only" ;;
	esac
}

# system_site SUITE: the mirror that the system's apt has for it. Whose it is,
# apt knows only after its first update; before that the address has to do, and
# the key decides.
system_site() {
	local info

	for info in --release-info --no-release-info; do
		# shellcheck disable=SC2016 # apt's own placeholders
		apt-get indextargets "$info" 'Created-By: Packages' \
			--format '$(ORIGIN)|$(COMPONENT)|$(RELEASE)|$(CODENAME)|$(SITE)'
	done |
	awk -F'|' -v suite="$1" '
		$2 == "main" && ($3 == suite || $4 == suite) {
			print ($1 == "Debian" ? 0 : $5 ~ /\/debian(-security)?$/ ? 1 : 2), $5
		}' |
	sort | awk 'NR == 1 { print $2 }'
}

# private_apt NAME COMMAND...: apt-get with the sources of that name. Only an
# installation needs root.
private_apt() {
	local dir=$CACHE/apt/$1 run=() foreign=()

	# The packages of another architecture, for a machine that has none yet.
	if [ "$1" = arm64 ]; then
		: >"$dir/status"
		foreign=(-o APT::Architecture=arm64 -o APT::Architectures=arm64
			-o Dir::State::status="$dir/status" -o Debug::NoLocking=true)
	elif [ "$2" = install ]; then
		run=(as_root)
	fi
	shift
	${run[@]+"${run[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -q \
		-o Dir::Etc::sourcelist="$dir/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferences=/dev/null \
		-o Dir::Etc::preferencesparts=/dev/null \
		-o Dir::State::lists="$dir/lists" \
		-o Dir::Cache="$dir/cache" \
		-o APT::Default-Release= \
		-o APT::Sandbox::User=root \
		-o APT::Keep-Downloaded-Packages=false \
		${foreign[@]+"${foreign[@]}"} \
		-o Dpkg::Use-Pty=0 \
		"$@"
}

# private_sources NAME SUITE...: (re)write the sources of that name and fetch
# their package lists.
private_sources() {
	local dir=$CACHE/apt/$1 key=/usr/share/keyrings/debian-archive-keyring.gpg
	local name=$1 site suite main

	shift
	main=${DEBIAN_MIRROR:-$(system_site "$(debian_release)")}
	[ -n "$main" ] || die "$E_PACKAGES" \
		"the system's apt has no Debian mirror for $(debian_release): set DEBIAN_MIRROR"
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	for suite in "$@"; do
		case "$suite" in
		*-security) site=$(system_site "$suite") ;;
		*) site=$main ;;
		esac
		[ -z "$site" ] || echo "deb [signed-by=$key] $site $suite main"
	done >"$dir/sources.list"
	step "apt-update-$name" "$E_NETWORK" "fetching Debian's package lists ($*)" \
		private_apt "$name" update -o APT::Update::Error-Mode=any
}
