#!/usr/bin/env bash
# mesa.sh: Mesa 25.0's lavapipe for Debian 12, unpacked in the cache beside the system's; prints its manifest, or says why not.
#
# On processors without AVX-512 the lavapipe of Debian 12 (Mesa 22.3) spends four fifths of its time on loads from storage buffers;
# Mesa 25.0, which Debian offers in bookworm-backports, does not. It needs the libraries of Debian 12 and no others.
# apt fetches it from the mirror that this machine uses anyway, with signatures checked, but with lists and a sources file of its
# own in the cache: the system is told nothing of it and stays as it is, and nothing here needs root.
# Where it cannot be had, one line says why, nothing is printed, and the scripts go on with the system's driver.
set -euo pipefail
. "$(dirname "$0")/env.sh"

# without REASON: the end where it cannot be had.
without() {
    echo "${0##*/}: Mesa $mesa_version is not here ($1); the system's lavapipe is used" >&2
    exit 0
}

if [ -e "$mesa_icd" ]; then
    use_dir "$mesa_dir"
    echo "$mesa_icd"
    exit 0
fi
[ -n "$(system_lavapipe_icd)" ] || without "the system has no lavapipe that it could replace"
# shellcheck source=/dev/null
{ [ -r /etc/os-release ] && . /etc/os-release; } || without "this system does not say what it is"
[ "${ID:-} ${VERSION_ID:-}" = "debian 12" ] || without "it is made for Debian 12, this is ${PRETTY_NAME:-another system}"
for tool in apt-get dpkg ldd; do
    command -v "$tool" >/dev/null || without "there is no $tool"
done

mkdir -p "$cache"
temp=$(mktemp -d "$cache/.mesa.XXXXXX")
trap 'rm -rf "$temp"' EXIT
mkdir -p "$temp/lists/partial" "$temp/archives/partial" "$temp/tree"

# The mirror from which Debian's main part comes on this machine.
address=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Label: Debian' 'Codename: bookworm' 'Component: main' 2>/dev/null | sed -n 1p || true)
[ -n "$address" ] || without "apt has no lists of a Debian mirror on this machine"
keyring=$(first_file /usr/share/keyrings/debian-archive-keyring.gpg)
echo "deb ${keyring:+[signed-by=$keyring] }$address bookworm-backports main" >"$temp/sources.list"

own=(-q -q -o Dir::Etc::SourceList="$temp/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State::Lists="$temp/lists" -o Dir::Cache="$temp" -o Dir::Cache::Archives="$temp/archives"
    -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=1 -o Acquire::http::Timeout=20
    -o Acquire::https::Timeout=20 -o APT::Update::Error-Mode=any)
echo "${0##*/}: fetching Mesa $mesa_version (11 MB) from bookworm-backports" >&2
apt-get "${own[@]}" update >&2 || without "bookworm-backports cannot be reached"
(cd "$temp" && apt-get "${own[@]}" download "mesa-vulkan-drivers=$mesa_version" >&2) || without "the mirror has not this version"
package=$(first_file "$temp"/mesa-vulkan-drivers_*.deb)
[ -n "$package" ] || without "the package did not arrive"
dpkg-deb -x "$package" "$temp/tree"

library=$(first_file "$temp"/tree/usr/lib/*/libvulkan_lvp.so)
[ -n "$library" ] || without "the package holds no lavapipe"
lacking=$(ldd "$library" 2>&1 | grep 'not found' | tr -s '\t ' ' ' || true)
[ -z "$lacking" ] || without "it lacks libraries:$lacking"

# Only lavapipe is kept: the package's other drivers are for hardware, which keeps the system's. The file appears whole, and last.
mkdir -p "$mesa_dir"
mv "$library" "$mesa_dir/libvulkan_lvp.so"
python3 - "$(first_file "$temp"/tree/usr/share/vulkan/icd.d/lvp_icd*.json)" "$mesa_dir/libvulkan_lvp.so" >"$temp/icd.json" <<'PY'
import json, sys
manifest = json.load(open(sys.argv[1]))
manifest["ICD"]["library_path"] = sys.argv[2]
print(json.dumps(manifest, indent=4))
PY
mv "$temp/icd.json" "$mesa_icd"
use_dir "$mesa_dir"
echo "$mesa_icd"
