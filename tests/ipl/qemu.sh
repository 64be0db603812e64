#!/usr/bin/env bash
# Finds a QEMU whose firmware IPLs from a virtio disk on PCI: the machine's own, or the one in the backports of Debian's stable release.
#
#   tests/ipl/qemu.sh
#
# Result: target/ipl-qemu/qemu-system-s390x. What is fetched is run by a loader and with libraries of its own, so that it needs neither
# root nor a chroot, and the machine's packages stay as they are. A second run does nothing. Exit status 75: there is none.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

LEAST=11
OUT=$TARGET/ipl-qemu
QEMU=$OUT/qemu-system-s390x
APT=$OUT/apt

# version_of QEMU
version_of() { "$1" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p'; }

new_enough() { version_at_least "$(version_of "$1")" "$LEAST"; }

none() {
    warn "there is no QEMU $LEAST or newer here: $1"
    exit 75
}

# An apt for this machine's architecture that thinks nothing is installed: so it fetches each library.
private_apt() {
    local mirror=${DEBIAN_MIRROR:-} architecture suite candidate keyring=''
    architecture=$(dpkg --print-architecture)
    # shellcheck disable=SC2016 # apt's variables, not the shell's
    [[ -n $mirror ]] || mirror=$(apt-get indextargets --format '$(ORIGIN)|$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
        sed -n 's/^Debian|\(.*\) [a-z]*$/\1/p' | head -n 1)
    [[ -n $mirror ]] || none "apt knows no Debian archive; DEBIAN_MIRROR would say where one is"
    for candidate in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        [[ ! -e $candidate ]] || keyring=$candidate
    done
    [[ -n $keyring ]] || none "Debian's archive keys are missing: install the package debian-archive-keyring"
    mkdir -p "$APT"/{lists,cache,debs}/partial "$APT/parts"
    : >"$APT/status"
    for suite in stable stable-backports; do
        printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite"
    done >"$APT/sources.list"
    cat >"$APT/apt.conf" <<CONF
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Default-Release "stable-backports";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Debug::NoLocking "true";
Dir::State "$APT";
Dir::State::status "$APT/status";
Dir::State::lists "$APT/lists";
Dir::Cache "$APT/cache";
Dir::Cache::archives "$APT/debs";
Dir::Etc::sourcelist "$APT/sources.list";
Dir::Etc::sourceparts "$APT/parts";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
CONF
    export APT_CONFIG=$APT/apt.conf
    quietly "$OUT/log/update" apt-get -q update || none "Debian's package lists cannot be had"
}

# What is fetched, as a program like another.
fetch() {
    local version root=$OUT/root deb loader libraries
    # Without package lists there is no such release, and apt fails.
    version=$({ apt-cache policy qemu-system-s390x 2>/dev/null || true; } | sed -n 's/^  Candidate: \([0-9]*:\)\{0,1\}//p')
    version_at_least "${version:-0}" "$LEAST" || none "Debian's archive has ${version:-none}"
    step "ipl: fetching QEMU $version"
    rm -rf "$root"
    mkdir -p "$root"
    quietly "$OUT/log/qemu" apt-get -q -y --download-only install qemu-system-s390x || none "$version cannot be fetched"
    for deb in "$APT"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
    rm -f "$APT"/debs/*.deb
    loader=$(readelf -l "$root/usr/bin/qemu-system-s390x" | sed -n 's/.*interpreter: .*\(\/[^]]*\)\]/\1/p')
    loader=$(find "$root" -path "*$loader" -print -quit)
    libraries=$(find "$root/usr/lib" -path '*-linux-gnu*' -name 'lib*.so.*' -printf '%h\n' | sort -u | paste -sd:)
    cat >"$QEMU.part" <<WRAPPER
#!/bin/sh
export QEMU_MODULE_DIR='$root/usr/lib/$(basename "$(find "$root/usr/lib" -maxdepth 1 -name '*-linux-gnu*' -print -quit)")/qemu'
exec '$loader' --library-path '$libraries' --argv0 "\$0" '$root/usr/bin/qemu-system-s390x' -L '$root/usr/share/qemu' "\$@"
WRAPPER
    chmod +x "$QEMU.part"
    new_enough "$QEMU.part" || die "what was fetched does not run here: see $QEMU.part"
    mv "$QEMU.part" "$QEMU"
}

help_asked "$@"
mkdir -p "$OUT/log"
exec 9>"$OUT/lock"
flock 9
if [[ -x $QEMU ]] && new_enough "$QEMU"; then exit; fi
own=$(command -v qemu-system-s390x || true)
if [[ -n $own ]] && new_enough "$own"; then
    ln -sfn "$own" "$QEMU"
    exit
fi
private_apt
fetch
