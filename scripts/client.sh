#!/usr/bin/env bash
# Makes the stock client: Debian's own s390x kernel and an initramfs of Debian's own s390x programs.
#
#   scripts/client.sh [--with-fio] [--with-vfio-ccw] [--with-zipl] [--refresh]
#
# Nothing of ours is in it but the init script (tests/e2e/client-init.sh). The packages are fetched with a private apt
# state, so that the machine's own package lists and architectures stay as they are, and no root is needed. The kernel
# is the newest that the machine's Debian release has (with backports, where those are needed for 6.12).
#
# Results, below target/client/:
#   vmlinuz     the kernel                        kernel-version   its version
#   base.cpio   busybox, mke2fs, sfdisk, blkdiscard, the kernel modules for the disk, /init
#   fio.cpio    fio, static (with --with-fio); to be appended to base.cpio
#   vfio-ccw.cpio   QEMU and the modules of vfio-ccw (with --with-vfio-ccw); to be appended to base.cpio
#   zipl.cpio   zipl, which makes a disk one that a VM can be IPLed from (with --with-zipl); to be appended to base.cpio
#
# A second run does nothing; --refresh looks for newer packages. Exit status 75: packages cannot be had.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

OUT=$TARGET/client
INIT=$ROOT/tests/e2e/client-init.sh
MODULES=(virtio_blk ext4 crc32c_generic)

help_asked "$@"
with_fio='' with_vfio_ccw='' with_zipl='' refresh=''
for arg; do
    case $arg in
        --with-fio) with_fio=yes ;;
        --with-vfio-ccw) with_vfio_ccw=yes ;;
        --with-zipl) with_zipl=yes ;;
        --refresh) refresh=yes ;;
        *) die "unknown argument $arg; see --help" ;;
    esac
done

# ---- packages -----------------------------------------------------------------------------------------------------

# cannot_be_had WHAT: the end, and nobody's fault here.
cannot_be_had() {
    warn "$1 cannot be had from Debian's archive"
    exit 75
}

# The mirror and release the machine itself uses, as apt knows them: "URI SUITE" lines. DEBIAN_MIRROR and DEBIAN_SUITE
# help where the machine is no Debian.
suites() {
    local codename=${DEBIAN_SUITE:-} uri
    if [[ -n ${DEBIAN_MIRROR:-} ]]; then
        printf '%s %s\n' "$DEBIAN_MIRROR" "${codename:=trixie}"
    else
        [[ -n $codename ]] || codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
        # shellcheck disable=SC2016 # apt's variables, not the shell's
        apt-get indextargets --format '$(ORIGIN)|$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
            sed -n "s/^Debian|//p" | grep -E " $codename(-updates|-security)?\$" | sort -u
    fi
    # bookworm's own kernel is 6.1; 6.12 is in its backports, on the same mirror.
    if [[ $codename == bookworm ]]; then
        uri=${DEBIAN_MIRROR:-}
        # shellcheck disable=SC2016
        [[ -n $uri ]] || uri=$(apt-get indextargets --format '$(ORIGIN)|$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
            sed -n 's/^Debian|\(.*\) bookworm$/\1/p' | head -n 1)
        printf '%s bookworm-backports\n' "$uri"
    fi
}

private_apt() {
    local apt=$OUT/apt keyring='' candidate uri suite
    mkdir -p "$apt"/{lists,cache,debs}/partial "$apt/parts"
    : >"$apt/status"
    for candidate in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        [[ -e $candidate ]] && keyring="signed-by=$candidate"
    done
    [[ -n $keyring ]] || die "Debian's archive keys are missing: install the package debian-archive-keyring"
    while read -r uri suite; do
        printf 'deb [%s] %s %s main\n' "$keyring" "$uri" "$suite"
        [[ $suite == *-* ]] || printf 'deb-src [%s] %s %s main\n' "$keyring" "$uri" "$suite"
    done < <(suites) >"$apt/sources.list"
    [[ -s $apt/sources.list ]] ||
        die "apt knows no Debian archive here: set DEBIAN_MIRROR and DEBIAN_SUITE (for example trixie)"
    cat >"$apt/apt.conf" <<CONF
APT::Architecture "s390x";
APT::Architectures { "s390x"; ${with_vfio_ccw:+"\"$(dpkg --print-architecture)\";"} };
APT::Default-Release "";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Debug::NoLocking "true";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
Dir::Cache::archives "$apt/debs";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/parts";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
CONF
    export APT_CONFIG=$apt/apt.conf
    # A suite that is missing or half-synchronised is no reason to stop: what can be had is what counts.
    quietly "$OUT/log/apt-update" sh -c 'apt-get -q update || true'
}

# The packages of the kernels this release offers, newest first: "PACKAGE=VERSION".
kernels() {
    apt-cache show linux-image-s390x |
        sed -n 's/^Depends: .*\(linux-image-[^ ]*-s390x\) (= \([^)]*\)).*/\1=\2/p' | sort -t= -k2 -rV
}

# unpack DIRECTORY DEB…
unpack() {
    local dir=$1 deb
    shift
    mkdir -p "$dir"
    for deb; do dpkg-deb -x "$deb" "$dir"; done
}

fetch_kernel() {
    local kernel release dir=$OUT/kernel
    rm -rf "$dir" "$OUT"/linux-image-*.deb
    while read -r kernel; do
        say "    $kernel"
        (cd "$OUT" && quietly "$OUT/log/kernel" apt-get -q download "$kernel") && break
        kernel=
    done < <(kernels)
    [[ -n ${kernel:-} ]] || cannot_be_had "an s390x kernel"
    unpack "$dir" "$OUT"/linux-image-*.deb
    rm -f "$OUT"/linux-image-*.deb
    # Debian 13 has /lib merged into /usr in its packages, Debian 12 not.
    [[ -d $dir/usr/lib/modules ]] || { mkdir -p "$dir/usr/lib" && mv "$dir/lib/modules" "$dir/usr/lib/"; }
    release=$(ls "$dir/usr/lib/modules")
    cp "$dir/boot/vmlinuz-$release" "$OUT/vmlinuz"
    printf '%s\n' "${kernel#*=}" >"$OUT/kernel-package-version"
    printf '%s\n' "$release" >"$OUT/kernel-version"
}

fetch_programs() {
    local dir=$OUT/programs
    rm -rf "$dir" "$OUT"/apt/debs/*.deb
    quietly "$OUT/log/programs" apt-get -q -y --download-only install busybox-static e2fsprogs fdisk ||
        cannot_be_had "busybox or mke2fs"
    unpack "$dir" "$OUT"/apt/debs/*.deb
    (cd "$OUT" && quietly "$OUT/log/util-linux" apt-get -q download util-linux && unpack "$dir" util-linux_*.deb)
    rm -f "$OUT"/util-linux_*.deb "$OUT"/apt/debs/*.deb
}

# ---- the initramfs ------------------------------------------------------------------------------------------------

# copy_program PATH [ROOT]: into the initramfs, with the shared libraries that it names; from the programs, or from ROOT.
copy_program() {
    local root=${2:-$OUT/programs} file name found
    local todo=("$root/$1")
    cp "$root/$1" "$tree/bin/"
    while ((${#todo[@]})); do
        file=${todo[0]}
        todo=("${todo[@]:1}")
        while read -r name; do
            [[ -e $tree/lib/$name ]] && continue
            found=$(find "$root" -name "$name" -print -quit)
            [[ -n $found ]] || die "the library $name, which $1 needs, is in no package that was fetched"
            cp -L "$found" "$tree/lib/$name"
            todo+=("$found")
        done < <(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
    done
}

# add_module NAME: into the initramfs, after the modules it depends on; the order is kept in /mod/order.
add_module() {
    local name=${1//-/_} file dependency
    [[ " ${added:-} " == *" $name "* ]] && return
    file=$(find "$OUT/kernel/usr/lib/modules" \( -name "$name.ko*" -o -name "${name//_/-}.ko*" \) -print -quit)
    added="${added:-} $name"
    [[ -n $file ]] || return 0 # built into this kernel
    case $file in
        *.xz) xz -dc "$file" >"$tree/mod/$name.ko" ;;
        *.zst) zstd -qdc "$file" >"$tree/mod/$name.ko" ;;
        *) cp "$file" "$tree/mod/$name.ko" ;;
    esac
    while read -r dependency; do
        add_module "$dependency"
    done < <(tr '\0' '\n' <"$tree/mod/$name.ko" | sed -n 's/^depends=//p' | tr ',' '\n' | sed '/^$/d')
    printf '%s\n' "$name" >>"$tree/mod/order"
}

# pack TREE FILE: a newc archive, the same for the same content; the kernel accepts several in a row.
pack() {
    (cd "$1" && find . -mindepth 1 -exec touch -h -d @0 {} + &&
        find . -mindepth 1 -print0 | LC_ALL=C sort -z |
        cpio --null --create --format=newc --owner=0:0 --reproducible --quiet) >"$2.part"
    mv "$2.part" "$2"
}

build_base() {
    local tree=$OUT/tree module program
    rm -rf "$tree"
    mkdir -p "$tree"/{bin,dev,lib,mnt,mod,proc,sys,tmp,etc}
    program=$(find "$OUT/programs" -path '*bin/busybox' -print -quit)
    cp "$program" "$tree/bin/busybox"
    for program in mke2fs sfdisk blkdiscard; do
        program=$(cd "$OUT/programs" && find . -path "*bin/$program" -print -quit)
        copy_program "$program"
    done
    # Busybox has a lesser mke2fs of its own; under this name it is always the real one.
    ln -s mke2fs "$tree/bin/mkfs.ext4"
    cp -L "$(find "$OUT/programs" -name ld64.so.1 -print -quit)" "$tree/lib/ld64.so.1"
    for module in "${MODULES[@]}"; do add_module "$module"; done
    install -m 755 "$INIT" "$tree/init"
    pack "$tree" "$OUT/base.cpio"
}

# ---- fio ----------------------------------------------------------------------------------------------------------

# Debian's fio package hangs on some fifty shared libraries (Ceph, Gluster, …), which take a client long to load. So it
# is built from Debian's source, static and with the engines that a block device needs.
build_fio() {
    local src=$OUT/fio-source cc=s390x-linux-gnu-gcc tree=$OUT/fio-tree prefix
    [[ $(uname -m) == s390x ]] && cc=gcc
    rm -rf "$src" "$tree"
    mkdir -p "$src/sysroot"
    (cd "$src" && quietly "$OUT/log/fio-source" apt-get -q source --download-only fio)
    (cd "$src" && quietly "$OUT/log/fio-libraries" apt-get -q download libaio-dev zlib1g-dev)
    tar -C "$src" --one-top-level=fio --strip-components=1 -xf "$(find "$src" -name 'fio_*.orig.tar*' ! -name '*.asc')"
    unpack "$src/sysroot" "$src"/*.deb
    prefix=$src/sysroot/usr
    (
        cd "$src/fio"
        export LDFLAGS="-L$prefix/lib/s390x-linux-gnu"
        quietly "$OUT/log/fio-configure" ./configure --cc="$cc" --build-static --disable-native --disable-rdma \
            --disable-rados --disable-rbd --disable-http --disable-gfapi --disable-numa --disable-libnfs \
            --extra-cflags="-I$prefix/include"
        quietly "$OUT/log/fio-make" make -j"$(nproc)" fio
    )
    mkdir -p "$tree/bin"
    ${cc%gcc}strip -o "$tree/bin/fio" "$src/fio/fio"
    pack "$tree" "$OUT/fio.cpio"
    rm -rf "$src"
}

# ---- vfio-ccw -----------------------------------------------------------------------------------------------------

# What a host of vfio-ccw needs. Debian builds its s390x kernels without vfio_ccw and mdev, so the two modules are built
# from the unmodified source package of the very kernel, against its headers. QEMU is the s390x build; where the
# release's own is older than what the host has, the one in backports.
fetch_vfio_ccw() {
    local dir=$OUT/vfio-ccw version release release_of_qemu=''
    version=$(<"$OUT/kernel-package-version") release=$(<"$OUT/kernel-version")
    rm -rf "$dir" "$OUT"/apt/debs/*.deb
    mkdir -p "$dir/debs"
    (cd "$dir/debs" && quietly "$OUT/log/vfio-ccw-kernel" apt-get -q download "linux-headers-$release=$version" \
        "linux-headers-${release%-s390x}-common=$version" "linux-source-$(cut -d. -f1,2 <<<"$version")=$version" \
        "linux-kbuild-${release%-s390x}:$(dpkg --print-architecture)=$version") ||
        cannot_be_had "the source and the headers of Linux $version"
    release_of_qemu=$(sed -n 's/.* \([a-z]*-backports\) main$/\1/p' "$OUT/apt/sources.list" | head -n 1)
    quietly "$OUT/log/vfio-ccw-qemu" apt-get -q -y --download-only -o "APT::Default-Release=$release_of_qemu" \
        install qemu-system-s390x || cannot_be_had "QEMU for s390x"
    unpack "$dir/programs" "$OUT"/apt/debs/*.deb
    rm -f "$OUT"/apt/debs/*.deb
}

build_vfio_ccw() {
    local dir=$OUT/vfio-ccw tree=$OUT/vfio-ccw-tree release cross=s390x-linux-gnu- headers module added=''
    release=$(<"$OUT/kernel-version")
    [[ $(uname -m) != s390x ]] || cross=
    rm -rf "$tree" "$dir"/{headers,source,build}
    mkdir -p "$tree"/{bin,lib,mod,usr/share/qemu} "$dir"/{source,build/mdev,build/cio}

    unpack "$dir/headers" "$dir"/debs/linux-{headers,kbuild}-*.deb
    headers=$dir/headers/usr/src/linux-headers-$release
    # It includes the common part by an absolute path.
    printf 'include %s/Makefile\n' "${headers%-s390x}-common" >"$headers/Makefile"
    dpkg-deb --fsys-tarfile "$dir"/debs/linux-source-*.deb | tar -xO --wildcards '*/linux-source-*.tar.xz' |
        tar -xJ -C "$dir/source" --strip-components=1 --wildcards '*/drivers/s390/cio' '*/drivers/vfio/mdev'
    cp "$dir"/source/drivers/vfio/mdev/*.[ch] "$dir/build/mdev/"
    cp "$dir"/source/drivers/s390/cio/{*.h,vfio_ccw*.c} "$dir/build/cio/"
    printf 'obj-m := mdev/ cio/\n' >"$dir/build/Kbuild"
    printf 'obj-m := mdev.o\nmdev-y := mdev_core.o mdev_sysfs.o mdev_driver.o\n' >"$dir/build/mdev/Kbuild"
    # shellcheck disable=SC2016 # make's variable, not the shell's
    printf '%s\n' 'CFLAGS_vfio_ccw_trace.o := -I$(src)' 'obj-m := vfio_ccw.o' \
        "vfio_ccw-y := $(cd "$dir/build/cio" && printf '%s ' vfio_ccw*.c | sed 's/\.c /.o /g')" >"$dir/build/cio/Kbuild"
    quietly "$OUT/log/vfio-ccw-make" make -C "$headers" M="$dir/build" ARCH=s390 CROSS_COMPILE=$cross \
        CONFIG_DEBUG_INFO_BTF_MODULES='' CONFIG_MODULE_SIG_ALL='' modules

    add_module vfio_iommu_type1
    for module in mdev/mdev cio/vfio_ccw; do
        "${cross}strip" --strip-debug -o "$tree/mod/${module#*/}.ko" "$dir/build/$module.ko"
        printf '%s\n' "${module#*/}" >>"$tree/mod/order"
    done
    mv "$tree/mod/order" "$tree/mod/vfio-ccw"
    copy_program usr/bin/qemu-system-s390x "$dir/programs"
    cp "$(find "$dir/programs" -name s390-ccw.img -print -quit)" "$tree/usr/share/qemu/"
    pack "$tree" "$OUT/vfio-ccw.cpio"
}

# ---- zipl ---------------------------------------------------------------------------------------------------------

# Only zipl itself and the boot loader that it writes; what else its package asks for is for real machines.
build_zipl() {
    local dir=$OUT/zipl tree=$OUT/zipl-tree
    rm -rf "$dir" "$tree"
    mkdir -p "$dir/debs" "$tree"/{bin,lib}
    (cd "$dir/debs" && quietly "$OUT/log/zipl" apt-get -q download s390-tools libc6) || cannot_be_had "zipl"
    unpack "$dir/programs" "$dir"/debs/*.deb
    copy_program "$(cd "$dir/programs" && find . -path '*sbin/zipl' -print -quit)" "$dir/programs"
    # Where zipl looks for it differs from release to release; it is where its package has it.
    (cd "$dir/programs" && find . -name stage3.bin -exec cp --parents {} "$tree" \;)
    pack "$tree" "$OUT/zipl.cpio"
}

# ---- what has to be done ------------------------------------------------------------------------------------------

# recipe FUNCTION… [-- FILE…]: what a result depends on, as one line: the steps that make it and the files they read.
recipe() {
    local functions=()
    while (($#)) && [[ $1 != -- ]]; do
        functions+=("$1")
        shift
    done
    shift || true
    {
        declare -f "${functions[@]}"
        printf '%s\n' "${MODULES[@]}"
        (($# == 0)) || cat "$@"
    } | sha256sum
}

# made RESULT RECIPE: true when RESULT is there and was made by that very recipe.
made() { [[ -e $OUT/$1 && -e $OUT/$1.recipe && $(<"$OUT/$1.recipe") == "$2" ]]; }

# make RESULT RECIPE WHAT FUNCTION: say what is done, do it, and note the recipe.
make_result() {
    made "$1" "$2" && return
    rm -f "$OUT/$1.recipe"
    step "client: $3"
    "$4"
    printf '%s\n' "$2" >"$OUT/$1.recipe"
}

main() {
    local kernel programs base fio zipl modules
    kernel=$(recipe fetch_kernel kernels)
    programs=$(recipe fetch_programs)
    fio=$(recipe build_fio pack)
    zipl=$(recipe build_zipl copy_program pack)

    mkdir -p "$OUT/log"
    exec 9>"$OUT/lock"
    flock 9
    [[ -z $refresh ]] || rm -f "$OUT"/*.recipe
    # These follow the kernel, so a kernel that has yet to be fetched lets them be made anew.
    vfio_ccw() { recipe fetch_vfio_ccw -- "$OUT/kernel-package-version"; }
    if ! made vmlinuz "$kernel" || ! made programs "$programs" || { [[ -n $with_fio ]] && ! made fio.cpio "$fio"; } ||
        { [[ -n $with_vfio_ccw ]] && ! made vfio-ccw "$(vfio_ccw)"; } ||
        { [[ -n $with_zipl ]] && ! made zipl.cpio "$zipl"; }; then
        step "client: reading Debian's package lists for s390x"
        private_apt
    fi
    make_result vmlinuz "$kernel" "fetching the s390x kernel" fetch_kernel
    make_result programs "$programs" "fetching busybox, mke2fs, sfdisk, blkdiscard for s390x" fetch_programs
    base=$(recipe build_base copy_program add_module pack -- "$INIT" "$OUT/kernel-version" "$OUT/programs.recipe")
    make_result base.cpio "$base" "building the initramfs" build_base
    [[ -z $with_fio ]] ||
        make_result fio.cpio "$fio" "building fio for s390x from Debian's source (about a minute)" build_fio
    [[ -z $with_zipl ]] || make_result zipl.cpio "$zipl" "fetching zipl for s390x" build_zipl
    [[ -z $with_vfio_ccw ]] || {
        make_result vfio-ccw "$(vfio_ccw)" "fetching QEMU for s390x, and the kernel's source and headers" fetch_vfio_ccw
        modules=$(recipe build_vfio_ccw copy_program add_module pack -- "$OUT/vfio-ccw.recipe")
        make_result vfio-ccw.cpio "$modules" "building vfio-ccw from Debian's source of the kernel" build_vfio_ccw
    }
}

main
