#!/bin/sh
# What the official image's entrypoint promises: as root it hands over to `redis`; options alone start the server.
set -e

case "${1#-}" in "$1") ;; *) set -- redis-server "$@" ;; esac
case "$1" in *.conf) set -- redis-server "$@" ;; esac

if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis '{}' +
    exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
fi

# The official server is built without protected mode, Debian's is not.
if [ "$1" = redis-server ] && ! grep -qs '^ *protected-mode' "${2:-/dev/null}"; then
    case "$*" in *protected-mode*) ;; *) set -- "$@" --protected-mode no ;; esac
fi

um="$(umask)"
if [ "$um" = 0022 ]; then umask 0077; fi
exec "$@"
