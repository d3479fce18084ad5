#!/bin/sh
# Runs a command with a display to open windows on: the one that is there, or a virtual one (Xvfb).
# In a container (Debian or Ubuntu, as root) what is missing for that is installed first.
set -eu

packages="xvfb xauth libgl1-mesa-dri libgl1 libegl1 libdbus-1-3 libfontconfig1 fonts-dejavu-core
  libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0
  libxcb-render-util0 libxcb-shape0 libxcb-xinerama0"

if [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
  exec "$@"
fi
missing=
command -v xvfb-run > /dev/null || missing=1
if command -v dpkg-query > /dev/null; then
  for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q '^install ok' || missing=1
  done
fi
if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    echo 'installing a virtual display'
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages > /dev/null
  else
    echo "The tests open windows, and this machine has no display. Install a virtual one, on Debian or" >&2
    echo "Ubuntu with: sudo apt-get install" $packages >&2
    exit 1
  fi
fi
exec xvfb-run -a -s '-screen 0 1600x1000x24' "$@"
