"""Two volumes of one engine change places, by one rename inside a container that sees the folder where the engine keeps volumes.

The engine cannot rename a volume. The kernel can exchange two folders at once (renameat2, RENAME_EXCHANGE), and a volume of the `local`
driver is the folder `_data` in a folder of its name. The images at hand are other people's, so that the call is made by whatever
language one of them has: Debian's have Perl, many have Python.
"""

from __future__ import annotations

import errno

NO_LANGUAGE = 77  # exit status: this image has neither; try another one
# renameat2 is 316 on x86-64 and 276 on the architectures that came later; -100 is AT_FDCWD, 2 is RENAME_EXCHANGE.
SCRIPT = """
case "$(uname -m)" in x86_64) call=316 ;; *) call=276 ;; esac
if command -v python3 > /dev/null; then
    python3 -c 'import ctypes, sys
library = ctypes.CDLL(None, use_errno=True)
failed = library.syscall(int(sys.argv[1]), -100, sys.argv[2].encode(), -100, sys.argv[3].encode(), 2)
sys.exit(failed and ctypes.get_errno())' "$call" "$1" "$2"
elif command -v perl > /dev/null; then
    perl -e '$call = $ARGV[0] + 0; exit(syscall($call, -100, $ARGV[1], -100, $ARGV[2], 2) == 0 ? 0 : $! + 0)' "$call" "$1" "$2"
else
    exit 77
fi || exit $?
sync
"""


def why(status: int) -> str:
    """What an exit status of the script, which is the kernel's error number, means."""
    return {
        errno.EINVAL: "the file system of the engine's volumes cannot exchange two folders at once",
        errno.ENOSYS: "the engine's kernel cannot exchange two folders at once",
        errno.EXDEV: "the two are on different file systems",
        errno.ENOENT: "one of them is not where the engine says",
    }.get(status, f"the kernel said {errno.errorcode.get(status, status)}")
