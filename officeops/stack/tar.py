"""A folder as a tar stream, and back: small `sh` scripts that both stacks run, whatever tar there is (GNU's or busybox's).

What each tar knows is written down here and nowhere else. The folder is "$1"; the stream is stdout or stdin.

Why these options:
- POSIX format: names of any length in any bytes, times with fractions, extended attributes. Times of reading and of the last change of
  attributes are left out, since a restore cannot set them and each reading would make another stream.
- Numeric owners: the machine that restores has other accounts.
- Sparse files stay sparse: a disk image with holes would fill the disk that it is restored to.
- Sorted: the entries of the same folder come in the same order, also after it was restored elsewhere (busybox: as they lie there).
- `sync` behind an import: what is swapped in next must not be in memory only.

An export's exit status: 0, the stream is what was there; 1, files changed while they were read, and stderr names them; others, it failed.
GNU tar says 1 for the former only; busybox tar says 1 for everything, so that its 1 is told as 2.
"""

from __future__ import annotations

CHANGED = 1  # exit status of an export during which files changed

_EXPORT = """
export LC_ALL=C
case "$(tar --version 2>/dev/null)" in
*GNU*) tar --create --file=- --format=posix --pax-option=delete=atime,delete=ctime \
    --numeric-owner --sparse --sort=name --xattrs --acls --directory="$1" . ;;
*) tar -c -f - --numeric-owner -C "$1" . || exit 2 ;;
esac
"""

_IMPORT = """
export LC_ALL=C
case "$(tar --version 2>/dev/null)" in
*GNU*) tar --extract --file=- --numeric-owner --same-permissions --delay-directory-restore \
    --xattrs --xattrs-include='*' --acls --directory="$1" || exit 2 ;;
*) tar -x -p -f - --numeric-owner -C "$1" || exit 2 ;;
esac
cat > /dev/null
sync -f "$1" 2>/dev/null || sync
"""


def export_script() -> str:
    """For `sh -c SCRIPT NAME FOLDER`: prints everything in the folder, itself included, with paths that begin with `./`."""
    return _EXPORT


def import_script() -> str:
    """For `sh -c SCRIPT NAME FOLDER`: puts everything that stdin has into the folder, with owners (as root), modes and times."""
    return _IMPORT
